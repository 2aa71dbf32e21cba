// Shows what the API of this service says: whatever the page can do, a program can do by the same addresses.

const MOST_FOUND = 6; // entries of a search's list
const FOLDED = 10; // titles of a long history that are shown at first
const PAUSE = 150; // milliseconds without a key before a search is sent
const CHOICES = ["model", "other", "count"];
const POPULARITY = "popularity"; // the one model whose score is a number that people know: see `scoreOf`

const byId = (id) => document.getElementById(id);

// What is shown: the history of a user, or one that was put together here (user is null); the latest first. One that was
// changed remembers whose it was, and what that user did not like: that must not come back either.
const nobody = { user: null, origin: null, history: [], disliked: [] };
let chosen = nobody;
let wanted = nobody; // what was asked for last: `chosen`, or a promise of what will be
let unfolded = false; // whether all of a long history is shown
let models = [];
let turns = 0; // counts what was asked for, so that a late answer to an earlier question is dropped

class Problem extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The answer of an address; every failure is a Problem with words that can be shown. */
async function ask(address, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    const response = await fetch(address, options);
    answer = await response.json();
  } catch {
    throw new Problem("unreachable", "the service does not answer: is it still running?");
  }
  if (answer.error) throw new Problem(answer.error.code, answer.error.message);
  return answer;
}

/** An element with properties and children; text is only ever set as text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function tell(problem) {
  byId("alert").hidden = !problem;
  byId("alert").textContent = problem ? sentence(problem.message) : "";
  if (problem && !(problem instanceof Problem)) throw problem;
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const number = (value) => value.toLocaleString("en");
const score = (value) => value.toLocaleString("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const titleOf = (item) => item.title || item.item_id;
const plural = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

// --- search ---

/** Connect a field with its list: `find` returns {entries: [{words, detail, choose}], total}. Enter takes the first. */
function searching(field, list, find) {
  let timer = 0;
  let searches = 0;
  /** Whether the list is now what the field asks for. */
  const search = async () => {
    clearTimeout(timer);
    const mine = ++searches;
    try {
      const { entries, total } = await find(field.value.trim());
      if (mine !== searches) return false;
      const more = total - entries.length;
      const note = !total ? "Nothing found." : more ? `${number(more)} more: type on to find them` : "";
      list.replaceChildren(
        ...entries.map(({ words, detail, choose }) => {
          const button = make("button", { type: "button" }, make("span", {}, words), make("small", {}, detail));
          button.addEventListener("click", choose);
          return make("li", {}, button);
        }),
        ...(note ? [make("li", { className: "note" }, note)] : []),
      );
      if (field.value) byId("status").textContent = total ? `${number(total)} found.` : note;
      return true;
    } catch (problem) {
      if (mine === searches) tell(problem);
      return false;
    }
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  field.addEventListener("keydown", async (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (event.repeat || !field.value.trim()) return;
    if (await search()) list.querySelector("button")?.click();
  });
  return search();
}

async function findUsers(query) {
  const { users, total } = await ask(`/users?n=${MOST_FOUND}&query=${encodeURIComponent(query)}`);
  const entries = users.map(({ user_id: id, interaction_count: count }) => ({
    words: id,
    detail: plural(count, "rating"),
    choose: () => show(ofUser(id), { goThere: true }),
  }));
  return { entries, total };
}

async function findItems(query) {
  const { items, total } = await ask(`/items?n=${MOST_FOUND}&query=${encodeURIComponent(query)}`);
  const entries = items.map((item) => ({
    words: titleOf(item),
    detail: `liked by ${number(item.positives)}`,
    choose: () => show(changed([item, ...chosen.history.filter((other) => other.item_id !== item.item_id)])),
  }));
  return { entries, total };
}

// --- history ---

async function ofUser(id) {
  const profile = await ask(`/users/${encodeURIComponent(id)}/profile`);
  return { user: id, origin: id, history: profile.history, disliked: profile.disliked };
}

const changed = (history) => ({ ...chosen, user: null, history });

/** Scroll to the recommendations, or to what is wrong with them, unless they begin well inside the window. */
function bringIntoView() {
  const target = byId("alert").hidden ? byId("first") : byId("alert");
  const { top } = target.getBoundingClientRect();
  if (top >= 0 && top < 0.6 * innerHeight) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ behavior: still ? "instant" : "smooth", block: "start" });
}

/** Take the keyboard and screen readers along to the recommendations. */
function goToLists() {
  byId("first-heading").focus({ preventScroll: true });
  bringIntoView();
}

function showHistory() {
  const { user, origin, history } = chosen;
  const whose = user !== null ? `User ${user}:` : origin !== null ? `Of user ${origin}, changed:` : "Chosen by you:";
  byId("clear").hidden = chosen === nobody;
  byId("whose").textContent =
    chosen === nobody
      ? "Nothing chosen yet: pick a user, or add titles that you like."
      : `${whose} ${plural(history.length, "title")} liked, the latest first`;
  const folds = history.length > FOLDED;
  byId("fold").hidden = !folds;
  byId("fold").textContent = unfolded ? `Show the latest ${FOLDED}` : `Show all ${number(history.length)}`;
  byId("fold").setAttribute("aria-expanded", unfolded);
  byId("jump").hidden = chosen === nobody;
  byId("jump").textContent = `Recommendations for ${plural(history.length, "title")}`;
  const shown = folds && !unfolded ? history.slice(0, FOLDED) : history;
  byId("history").replaceChildren(
    ...shown.map((item, place) => {
      const remove = make("button", { type: "button", className: "remove", title: "Leave it out" }, "\u00d7");
      remove.setAttribute("aria-label", `Leave out ${titleOf(item)}`);
      remove.addEventListener("click", () => {
        show(changed(history.filter((other) => other !== item)));
        // The button is gone: the keyboard goes on at the next one, or where titles are added.
        const buttons = byId("history").querySelectorAll("button");
        (buttons[Math.min(place, buttons.length - 1)] ?? byId("item-query")).focus();
      });
      const row = make("div", { className: "row" }, make("span", { className: "title" }, titleOf(item)), remove);
      return make("li", {}, row);
    }),
  );
}

// --- recommendations ---

/** What a model recommends; one that takes no history still knows its users, and only gives no reasons. */
async function recommend(model) {
  const { user, history, disliked } = chosen;
  const wanted = { model: model.name, top_k: Number(byId("count").value) };
  const liked = history.map((item) => item.item_id).reverse();
  const seen = disliked.map((item) => ({ item_id: item.item_id, rating: item.rating }));
  const whose = user === null ? { history: [...seen, ...liked] } : { user_id: user };
  try {
    return await ask("/recommend", { ...wanted, ...whose, because: model.folds_in !== false });
  } catch (problem) {
    if (problem.code !== "cannot_fold_in") throw problem;
    model.folds_in = false;
    if (user !== null) return ask("/recommend", { ...wanted, ...whose });
    throw new Problem(problem.code, `${model.title} takes no history of your own: pick a user, or take another model.`);
  }
}

/** For whom a list is: on a phone the history, which says it too, is far below. */
const forWhom = () =>
  chosen.user !== null ? `for user ${chosen.user}` : `for ${plural(chosen.history.length, "title")}`;

function fill(panel, model, note, entries) {
  const heading = model ? [model.title, " ", make("small", {}, forWhom())] : ["Recommendations"];
  panel.querySelector("h2").replaceChildren(...heading);
  panel.querySelector(".note").textContent = note;
  panel.querySelector("ol").replaceChildren(...entries);
}

/** The score of an item, as words where people can know what it counts. */
const scoreOf = (model, value) => (model.name === POPULARITY ? `liked by ${number(value)}` : score(value));

function aboutScores(model, list) {
  if (model.name === POPULARITY) return "Counts the users who liked a title, without the test part; the same for everyone.";
  const added = list.some((item) => item.because?.length) ? "; in brackets: what a title of the history adds" : "";
  return `Scores compare only within this list${added}.`;
}

function showList(panel, model, list, other) {
  const ranks = new Map(other?.list?.map((item, place) => [item.item_id, place + 1]));
  const shared = list.filter((item) => ranks.has(item.item_id)).length;
  const notes = [];
  if (!list.length) notes.push("Nothing is left to recommend.");
  else if (!list[0].because) notes.push("This model cannot say why.");
  if (other?.list) notes.push(`${shared} of ${list.length} are in both lists.`);
  if (list.length) notes.push(aboutScores(model, list));
  fill(
    panel,
    model,
    notes.join(" "),
    list.map((item, place) => {
      const row = make(
        "div",
        { className: "row" },
        make("span", { className: "rank" }, `${place + 1}.`),
        make("span", { className: "title" }, titleOf(item)),
        make(
          "span",
          { className: "score" },
          ...(model.name === POPULARITY ? [] : [make("span", { className: "unseen" }, "score ")]),
          scoreOf(model, item.score),
        ),
      );
      const entry = make("li", {}, row);
      if (item.because?.length) {
        const reasons = item.because.map((reason) => `${titleOf(reason)} (+${score(reason.contribution)})`);
        entry.append(make("p", { className: "because" }, `because of ${reasons.join(", ")}`));
      }
      if (ranks.has(item.item_id)) {
        entry.className = "both";
        entry.append(make("p", { className: "because" }, `place ${ranks.get(item.item_id)} by ${other.model.title}`));
      }
      return entry;
    }),
  );
}

/**
 * Show a choice, which may be known only later: then what was shown stays until it is. With `goThere` the keyboard goes
 * to the recommendations, and they come into view; with `inView` they only come into view.
 */
async function show(next = wanted, { goThere = false, inView = goThere } = {}) {
  const turn = ++turns;
  wanted = next;
  try {
    if (next instanceof Promise) {
      next = await next;
      if (turn !== turns) return; // something else has been asked for meanwhile
    }
    if (next !== chosen && (next.user !== null || next.origin !== chosen.origin)) unfolded = false;
    wanted = chosen = !next.history.length && next.user === null ? nobody : next;
    tell(null);
    showHistory();
    keepAddress();
    if (goThere) goToLists(); // at once: a model that is read on its first use takes a while
    await showLists(turn);
  } catch (problem) {
    if (turn !== turns) return;
    wanted = chosen;
    tell(problem);
  }
  if (inView && turn === turns) bringIntoView(); // again, now that the page is as long as the lists
}

async function showLists(turn) {
  const asked = [byId("model").value, byId("other").value].map((name) => models.find((model) => model.name === name));
  const panels = [byId("first"), byId("second")];
  const busy = (is) => panels.forEach((panel) => panel.setAttribute("aria-busy", is));
  panels[1].hidden = chosen === nobody || !asked[1];
  if (chosen === nobody) {
    busy(false);
    fill(panels[0], null, "They appear here.", []);
    byId("status").textContent = "";
    return;
  }
  busy(true);
  panels.forEach((panel, place) => {
    if (asked[place] && !panel.querySelector("li")) fill(panel, asked[place], "Asking the model …", []);
  });
  const answers = await Promise.allSettled(asked.map((model) => model && recommend(model)));
  if (turn !== turns) return;
  busy(false);
  const lists = answers.map(({ value }) => value?.recommendations);
  panels.forEach((panel, place) => {
    const other = asked[1] && { model: asked[1 - place], list: lists[1 - place] };
    if (lists[place]) showList(panel, asked[place], lists[place], other);
    else if (asked[place]) fill(panel, asked[place], "No list: see above.", []);
  });
  const failed = answers.flatMap(({ reason }) => reason ?? []);
  const defect = failed.find((problem) => !(problem instanceof Problem));
  if (defect) throw defect;
  if (failed.length) throw new Problem(failed[0].code, [...new Set(failed.map(({ message }) => sentence(message)))].join(" "));
  byId("status").textContent = `${plural(lists[0].length, "recommendation")} by ${asked[0].title}.`;
}

// --- the address of what is shown, so that it can be passed on ---

function keepAddress() {
  const parts = new URLSearchParams();
  if (chosen.user !== null) parts.set("user", chosen.user);
  else {
    for (const item of chosen.history) parts.append("item", item.item_id);
    if (chosen.origin !== null) parts.set("from", chosen.origin); // whose dislikes still count as seen
  }
  for (const id of CHOICES) parts.set(id, byId(id).value);
  history.replaceState(null, "", `#${parts}`);
}

function restore() {
  const parts = new URLSearchParams(location.hash.slice(1));
  for (const id of CHOICES) {
    if ([...byId(id).options].some(({ value }) => value === parts.get(id))) byId(id).value = parts.get(id);
  }
  if (parts.has("user")) return show(ofUser(parts.get("user")), { inView: true });
  if (parts.has("item")) return show(ofItems(parts.getAll("item"), parts.get("from")), { inView: true });
  return show(nobody);
}

/** A history of item ids; what the catalogue lacks is passed over, as by the API. */
async function ofItems(ids, origin) {
  const whose = origin === null ? nobody : await ofUser(origin);
  const found = await Promise.allSettled(ids.map((id) => ask(`/items/${encodeURIComponent(id)}/info`)));
  const failed = found.find(({ reason }) => reason && reason.code !== "unknown_item");
  if (failed) throw failed.reason;
  return { ...whose, user: null, history: found.flatMap(({ value }) => value ?? []) };
}

async function start() {
  const [stats, listed] = await Promise.all([ask("/stats"), ask("/models")]);
  models = listed.models;
  byId("sizes").textContent =
    `${stats.dataset}: ${plural(stats.users, "user")}, ${plural(stats.items, "item")}, ${plural(stats.interactions, "rating")}`;
  const option = ({ name, title, available }) => make("option", { value: name, disabled: !available }, title);
  byId("model").append(...models.map(option));
  byId("other").append(new Option("nothing", ""), ...models.map(option));
  for (const id of CHOICES) byId(id).addEventListener("change", () => show());
  byId("clear").addEventListener("click", () => {
    byId("item-query").focus();
    show(nobody);
  });
  byId("fold").addEventListener("click", () => {
    unfolded = !unfolded;
    showHistory();
    if (!unfolded) byId("fold").scrollIntoView({ block: "nearest" }); // the titles above it are gone
  });
  byId("jump").addEventListener("click", goToLists);
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", restore);
  await Promise.all([
    searching(byId("user-query"), byId("user-results"), findUsers),
    searching(byId("item-query"), byId("item-results"), findItems),
    restore(),
  ]);
}

start().catch((problem) => {
  byId("sizes").textContent = "";
  tell(problem);
});
