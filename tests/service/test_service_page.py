"""The page at `/` in headless Chromium: search, recommend, compare, and errors in words."""

import numpy as np
import pytest
from playwright.sync_api import expect
from serving import Service

EVIL = "<img src=x onerror='document.title = 1'>"


@pytest.fixture(scope="module")
def service(done):
    with Service(done.folder) as service:
        service.engine.known.titles[service.engine.item("i005")] = EVIL  # a title is whatever somebody wrote
        yield service


@pytest.fixture
def view(browser, service):
    """The page, with whatever the browser complains of or asks for."""
    view = browser.new_page(viewport={"width": 1100, "height": 800})
    view.set_default_timeout(15_000)
    view.complaints, view.asked = [], []
    view.on("pageerror", lambda error: view.complaints.append(str(error)))
    view.on("console", lambda message: view.complaints.append(message.text))
    view.on("request", lambda request: view.asked.append(request.url))
    view.goto(service.address)
    view.locator("#user-results button").first.wait_for()
    yield view
    view.close()


def texts(view, selector):
    return view.locator(selector).all_text_contents()


def delay(view, words, milliseconds):
    """Let the answers of addresses that have these words arrive late."""
    view.evaluate(
        """([words, milliseconds]) => {
            const quick = window.fetch;
            window.fetch = async (address, ...rest) => {
                if (address.includes(words)) await new Promise((done) => setTimeout(done, milliseconds));
                return quick(address, ...rest);
            };
        }""",
        [words, milliseconds],
    )


def expected(service, items, k):
    """Titles that the library itself recommends for a history, the latest last."""
    shop = service.engine.load("hybridvae").recommendations
    return shop.recommend(items, k=k)["title"].tolist()


def test_it_loads_from_the_service_alone(view, service):
    assert view.locator("#sizes").text_content() == "tiny: 40 users, 24 items, 440 ratings"
    assert all(url.startswith((service.address, "data:")) for url in view.asked) and not view.complaints
    assert view.request.get(service.address).headers["content-security-policy"].startswith("default-src 'none'; ")
    assert texts(view, "#user-results button") == [f"u00{user}11 ratings" for user in range(6)]
    assert "They appear here." in view.locator("#first").text_content() and view.locator("#second").is_hidden()


def test_the_documentation_loads_from_the_service_alone(view, service):
    view.asked.clear()
    view.get_by_role("link", name="API").click()
    view.get_by_role("heading", name="POST /recommend", exact=True).wait_for()
    assert all(url.startswith((service.address, "data:")) for url in view.asked) and not view.complaints
    view.get_by_role("link", name="ForHistory", exact=True).first.click()
    shape = view.locator("#ForHistory")
    assert shape.evaluate("element => element.matches(':target')")
    assert "list of string or number" in shape.locator("tr", has_text="latest last").text_content()


def test_a_history_is_built_and_changed_by_the_keyboard_alone(view, service):
    def tab_to(condition):
        for _ in range(40):
            if view.evaluate(f"document.activeElement.{condition}"):
                return
            view.keyboard.press("Tab")
        raise AssertionError(f"Tab never came to {condition}")

    tab_to("id === 'item-query'")
    for words in ("guitar 3", "kettle 14"):
        view.keyboard.press("Control+a")
        view.keyboard.type(words)
        view.keyboard.press("Enter")
        view.locator("#history li", has_text=words.capitalize()).wait_for()
    assert texts(view, "#history .title") == ["Kettle 14", "Guitar 3"], "the latest first"
    view.get_by_text("10 recommendations by HybridVAE.").wait_for(state="attached")
    assert texts(view, "#first .title") == expected(service, ["i003", "i014"], 10)
    shop = service.engine.load("hybridvae").recommendations
    first = shop.recommend(["i003", "i014"], k=1)["item_id"].tolist()
    added = shop.reasons(shop.history(["i003", "i014"]), shop.indices(first))[:, 0]
    said = view.locator("#first li .because").first.text_content()
    assert said.startswith("because of " + ["Guitar 3", "Kettle 14"][int(np.argmax(added))])

    tab_to("ariaLabel === 'Leave out Kettle 14'")
    view.keyboard.press("Enter")
    view.locator("#history li").nth(1).wait_for(state="detached")
    assert view.evaluate("document.activeElement.ariaLabel") == "Leave out Guitar 3", "the focus goes on"
    expect(view.locator("#first .title")).to_have_text(expected(service, ["i003"], 10))
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Enter")
    view.get_by_text("They appear here.").wait_for()
    assert not texts(view, "#history li") and not view.complaints


def test_two_models_are_compared_for_a_user(browser, view, service):
    view.fill("#user-query", "u013")
    view.locator("#user-results button", has_text="u013").click()
    view.locator("#first li").first.wait_for()
    assert view.locator("#whose").text_content() == "User u013: 9 titles liked, the latest first"
    view.select_option("#count", "5")
    view.select_option("#other", "itemknn")
    view.locator("#second li").first.wait_for()
    lists = [texts(view, f"#{panel} .title") for panel in ("first", "second")]
    users = np.array([service.engine.user("u013")])
    for model, titles in zip(("hybridvae", "itemknn"), lists, strict=True):
        best = service.engine.load(model).recommendations.for_users(users, 5).items[0]
        assert titles == service.engine.known.titles[best[best >= 0]].tolist()
    both = [title for title in lists[0] if title in lists[1]]
    assert both, "else nothing is seen of what is checked next"
    assert texts(view, "#first .both .title") == both
    assert f"{len(both)} of {len(lists[0])} are in both lists." in view.locator("#first .note").text_content()
    for title in both:
        place = lists[1].index(title) + 1
        assert f"place {place} by Item-KNN" in view.locator("#first .both", has_text=title).first.text_content()

    other = browser.new_page()
    other.goto(view.url)  # what is shown has an address, which can be passed on
    other.locator("#second li").first.wait_for()
    assert texts(other, "#second .title") == lists[1]
    other.close()


def test_errors_are_words(view):
    view.fill("#item-query", "guitar 3")
    view.press("#item-query", "Enter")
    view.locator("#first li").first.wait_for()
    view.select_option("#other", "lightgcn")
    view.get_by_role("alert").get_by_text(
        "LightGCN takes no history of your own: pick a user, or take another model."
    ).wait_for()
    assert view.locator("#first li").count() == 10 and "No list" in view.locator("#second").text_content()
    view.locator("#user-results button").first.click()
    view.locator("#second li").first.wait_for()
    assert view.locator("#alert").is_hidden() and "cannot say why" in view.locator("#second").text_content()
    view.fill("#user-query", "nobody")
    view.locator("#user-results").get_by_text("Nothing found.").wait_for()
    assert view.get_by_role("status").text_content() == "Nothing found."
    view.goto(view.url.split("#")[0] + "#user=nobody")
    view.get_by_role("alert").get_by_text("There is no user 'nobody'").wait_for()


def test_a_model_that_cannot_be_asked_cannot_be_chosen(browser, service, monkeypatch):
    monkeypatch.setitem(service.engine._problems, "lightgcn", "it is damaged: make it again.")
    view = browser.new_page()
    view.goto(service.address)
    view.locator("#user-results button").first.wait_for()
    disabled = view.locator("#model option:disabled, #other option:disabled")
    assert disabled.all_text_contents() == ["LightGCN", "LightGCN"]
    view.close()


def test_a_service_that_is_gone_is_said_to_be(browser, done):
    with Service(done.folder) as service:
        view = browser.new_page()
        view.goto(service.address)
        view.locator("#user-results button").first.wait_for()
    view.locator("#user-results button").first.click()
    view.get_by_role("alert").get_by_text("The service does not answer").wait_for()
    view.close()


def test_titles_are_text_and_nothing_else(view):
    view.fill("#item-query", "onerror")
    view.press("#item-query", "Enter")
    view.locator("#first li").first.wait_for()
    assert texts(view, "#history .title") == [EVIL] and view.locator("main img").count() == 0
    assert view.title() == "HybridVAE: recommendations" and not view.complaints


@pytest.mark.parametrize(
    ("width", "scheme", "ground"),
    [(320, "light", "255, 255, 255"), (390, "dark", "16, 20, 24"), (1200, "light", "255, 255, 255")],
)
def test_it_fits_phones_and_follows_the_colour_scheme(browser, service, width, scheme, ground):
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    view.goto(service.address + "#user=u001&other=itemknn")
    view.locator("#second li").first.wait_for()
    assert view.evaluate("document.scrollingElement.scrollWidth") == width, "nothing sticks out sideways"
    assert ground in view.evaluate("getComputedStyle(document.body).backgroundColor")
    tops = [view.locator(f"#{panel}").bounding_box()["y"] for panel in ("first", "second")]
    assert (tops[0] == tops[1]) == (width > 800), "side by side where there is room, else below each other"
    view.close()


def top(view, selector):
    """How far below the upper edge of the window something begins."""
    return view.locator(selector).bounding_box()["y"]


def at_rest(view):
    """Wait until the window has been scrolled to where it goes."""
    view.evaluate(
        """() => new Promise((done) => {
            let last = -1, still = 0;
            const look = () => {
                still = scrollY === last ? still + 1 : 0;
                last = scrollY;
                still > 10 ? done() : requestAnimationFrame(look);
            };
            look();
        })"""
    )


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
@pytest.mark.parametrize("by", ["touch", "keyboard"])
def test_on_a_phone_the_recommendations_for_a_user_come_into_view(browser, service, motion, by):
    view = browser.new_page(viewport={"width": 390, "height": 700}, reduced_motion=motion, has_touch=True)
    view.goto(service.address)
    view.locator("#user-results button").first.wait_for()
    assert top(view, "#first") > 700, "they are below what is seen, else nothing has to move"
    if by == "touch":
        view.locator("#user-results button", has_text="u001").tap()
    else:
        view.focus("#user-query")
        view.keyboard.type("u001")
        view.keyboard.press("Enter")
    view.get_by_text("10 recommendations by HybridVAE.").wait_for(state="attached")
    at_rest(view)
    assert 0 <= top(view, "#first") < 350
    assert view.evaluate("document.activeElement.id") == "first-heading", "the keyboard goes on there"
    assert view.locator("#first-heading").text_content() == "HybridVAE for user u001"
    assert top(view, "#first") < top(view, "#chosen"), "the history is below"
    view.close()


def test_where_the_recommendations_are_in_view_nothing_moves(browser, service):
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto(service.address)
    view.locator("#user-results button").first.click()
    view.locator("#first li").first.wait_for()
    at_rest(view)
    assert view.evaluate("scrollY") == 0
    view.close()


def test_on_a_phone_a_history_is_built_before_the_recommendations_are_looked_at(browser, service):
    view = browser.new_page(viewport={"width": 390, "height": 700})
    view.goto(service.address)
    for count, title in ((1, "guitar 3"), (2, "kettle 14")):
        view.fill("#item-query", title)
        view.press("#item-query", "Enter")
        view.locator("#history li").nth(count - 1).wait_for(state="attached")
    assert view.evaluate("document.activeElement.id") == "item-query"
    view.get_by_role("button", name="Recommendations for 2 titles").click()
    at_rest(view)
    assert 0 <= top(view, "#first") < 350
    view.close()


def test_a_long_history_is_folded(view, service):
    items = "&".join(f"item=i{item:03d}" for item in range(12))
    view.goto(f"{service.address}#{items}")
    fold = view.locator("#fold")
    expect(fold).to_have_text("Show all 12")
    latest = [f"Guitar {item}" if item != 5 else EVIL for item in range(12)]
    assert texts(view, "#history .title") == latest[:10] and fold.get_attribute("aria-expanded") == "false"
    fold.click()
    assert texts(view, "#history .title") == latest and fold.get_attribute("aria-expanded") == "true"
    view.select_option("#count", "5")
    view.get_by_label("Leave out Guitar 0").click()
    expect(view.locator("#history .title")).to_have_text(latest[1:])  # what was unfolded stays so
    fold.click()
    expect(fold).to_have_text("Show all 11")
    view.get_by_label("Leave out Guitar 1", exact=True).click()
    expect(view.locator("#history .title")).to_have_text(latest[2:])
    assert fold.is_hidden(), "ten are not folded"
    view.locator("#user-results button", has_text="u001").click()
    view.get_by_text("User u001: 9 titles liked").wait_for()
    assert fold.is_hidden() and not view.complaints


def test_what_scores_mean_is_said(view, service):
    view.locator("#user-results button", has_text="u001").click()
    view.select_option("#other", "popularity")
    view.locator("#second li").first.wait_for()
    first, second = (view.locator(f"#{panel} .note").text_content() for panel in ("first", "second"))
    assert "Scores compare only within this list; in brackets: what a title of the history adds." in first
    assert "Counts the users who liked a title, without the test part; the same for everyone." in second
    popularity = service.engine.load("popularity").recommendations
    best = popularity.for_users(np.array([service.engine.user("u001")]), 10)
    counts = [int(value) for value in best.scores[0][best.items[0] >= 0]]
    assert texts(view, "#second .score") == [f"liked by {count}" for count in counts]
    assert texts(view, "#first .score")[0].startswith("score "), "to who does not see columns"


def test_each_model_that_has_no_list_says_why(view):
    view.fill("#item-query", "guitar 3")
    view.press("#item-query", "Enter")
    view.locator("#first li").first.wait_for()
    view.select_option("#other", "lightgcn")
    view.get_by_role("alert").get_by_text("LightGCN takes no history").wait_for()
    view.select_option("#model", "lightgcn")
    expect(view.locator("#first .note")).to_have_text("No list: see above.")
    said = view.get_by_role("alert").text_content()
    assert said == "LightGCN takes no history of your own: pick a user, or take another model.", "the same once"


def test_a_late_answer_does_not_overwrite_a_later_choice(view):
    delay(view, "u000", 700)
    view.locator("#user-results button", has_text="u000").click()
    view.locator("#user-results button", has_text="u001").click()
    view.get_by_text("User u001: 9 titles liked").wait_for()
    view.wait_for_timeout(1000)
    assert "User u001" in view.locator("#whose").text_content() and "user=u001" in view.url
    view.locator("#user-results button", has_text="u000").click()
    view.get_by_text("Start anew").click()
    view.wait_for_timeout(1000)
    assert not texts(view, "#history li") and view.locator("#first").get_attribute("aria-busy") == "false"


def test_a_change_of_the_model_does_not_lose_a_user_who_is_still_being_read(view):
    delay(view, "profile", 500)
    view.locator("#user-results button", has_text="u001").click()
    view.select_option("#other", "itemknn")
    view.get_by_text("User u001: 9 titles liked").wait_for()
    view.locator("#second li").first.wait_for()
    delay(view, "gone", 300)
    view.evaluate("location.hash = 'user=gone'")
    view.get_by_role("alert").get_by_text("There is no user 'gone'").wait_for()
    view.select_option("#count", "5")
    expect(view.locator("#first li")).to_have_count(5)  # of who was shown before
    assert view.locator("#whose").text_content().startswith("User u001")


def test_enter_takes_nothing_of_an_older_search(view):
    delay(view, "kettle", 500)
    view.fill("#item-query", "kettle 20")
    view.press("#item-query", "Enter")
    view.press("#item-query", "Enter")
    view.locator("#first li").first.wait_for()
    assert texts(view, "#history .title") == ["Kettle 20"]
    view.fill("#item-query", "")
    view.press("#item-query", "Enter")
    view.wait_for_timeout(300)
    assert texts(view, "#history .title") == ["Kettle 20"], "an empty field takes nothing"


def test_a_changed_history_of_a_user_keeps_out_what_they_did_not_like(browser, view, service):
    view.fill("#user-query", "u013")
    view.press("#user-query", "Enter")
    view.locator("#first li").first.wait_for()
    view.select_option("#count", "50")
    view.locator("#history button").first.click()
    view.get_by_text("Of user u013, changed: 8 titles liked").wait_for()
    expect(view.locator("#first li")).to_have_count(24 - 11 + 1)
    known = service.engine.known
    user = service.engine.user("u013")
    disliked = set(known.ratings[user].indices) - set(known.histories[user].indices)
    shown = texts(view, "#first .title")
    assert len(disliked) == 2 and not {known.titles[item] for item in disliked} & set(shown)
    other = browser.new_page()
    other.goto(view.url)  # whoever gets the address sees the same list
    other.get_by_text("Of user u013, changed: 8 titles liked").wait_for()
    expect(other.locator("#first .title")).to_have_text(shown)
    other.close()


def test_an_address_shows_what_it_names(view, service):
    view.goto(service.address + "#item=i003&item=gone&item=i014&count=5")
    view.locator("#first li").first.wait_for()
    assert texts(view, "#history .title") == ["Guitar 3", "Kettle 14"] and view.locator("#first li").count() == 5
    view.goto(service.address + "#user=u002")
    view.get_by_text("User u002: 9 titles liked").wait_for()
