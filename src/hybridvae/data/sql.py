"""Every SQL query of the project, in what DuckDB and Spark have in common: the file `engine.py` runs them on either.

Both give the same rows for the same query, by these rules, which a query here must keep:

- A parameter is `$name`. An engine that wants another sign puts it there.
- The type of a number that is stored or reported is cast where the two would choose different ones, as for ROW_NUMBER.
- TRIM is written `TRIM(BOTH ... FROM ...)`: with two arguments and a comma, Spark takes them the other way round.
- What is sorted by has no NULL, or is sorted DESC: only there do both put NULL last. Texts are compared by their bytes.
- A last column of ORDER BY is unique, so that no order is left to the engine.
"""

# --- Amazon's files of 2014 ----------------------------------------------------------------------

REVIEWS_BY_TIME = "SELECT line FROM review_lines ORDER BY time, reviewer, item, line"

REVIEWED_ITEMS = """
SELECT line FROM item_lines WHERE item IN (SELECT item FROM review_lines) ORDER BY item, line
"""

# --- clean ---------------------------------------------------------------------------------------

# The last rating of a (user, item) pair counts. Where two carry one timestamp the higher rating, then
# the later title and text in alphabetical order decide, so that the order of the lines never does.
LATEST_RATINGS = """
SELECT user_id, item_id, rating, timestamp, title, text
FROM (
    SELECT *, ROW_NUMBER() OVER (
        PARTITION BY user_id, item_id ORDER BY timestamp DESC, rating DESC, title DESC, text DESC
    ) AS from_latest
    FROM lines
) AS every_rating
WHERE from_latest = 1
"""

CORE_START = "SELECT user_id, item_id FROM ratings"

# One round drops users and items that are both below their threshold now; rounds follow until none is.
CORE_ROUND = """
SELECT user_id, item_id
FROM (
    SELECT user_id, item_id,
           COUNT(*) OVER (PARTITION BY user_id) AS user_ratings,
           COUNT(*) OVER (PARTITION BY item_id) AS item_ratings
    FROM core
) AS counted
WHERE user_ratings >= $min_user_ratings AND item_ratings >= $min_item_ratings
"""

CORE_COUNTS = """
SELECT COUNT(*) AS rows, COUNT(DISTINCT user_id) AS users, COUNT(DISTINCT item_id) AS items FROM core
"""

CLEAN_REVIEWS = """
SELECT ratings.user_id, ratings.item_id, rating, timestamp,
       rating >= CAST($positive_rating AS FLOAT) AS positive, title, text
FROM ratings JOIN core ON ratings.user_id = core.user_id AND ratings.item_id = core.item_id
ORDER BY ratings.user_id, timestamp, ratings.item_id
"""

# Which metadata belong to an item: those of its id; else those that name it as a variant; else those of a variant that
# the reviews name beside it.
CLEAN_ITEMS = """
WITH descriptions AS (
    SELECT item_id, 0 AS distance, title, brand, categories, description FROM metadata
    UNION ALL
    SELECT variant_id, 1, title, brand, categories, description FROM metadata WHERE variant_id IS NOT NULL
    UNION ALL
    SELECT named.item_id, 2, title, brand, categories, description
    FROM (SELECT DISTINCT item_id, variant_id FROM lines WHERE variant_id IS NOT NULL) AS named
    JOIN metadata ON named.variant_id = metadata.item_id
)
SELECT kept.item_id, distance IS NOT NULL AS matched, COALESCE(title, '') AS title, COALESCE(brand, '') AS brand,
       COALESCE(categories, '') AS categories, COALESCE(description, '') AS description
FROM (SELECT DISTINCT item_id FROM core) AS kept
LEFT JOIN (
    SELECT *, ROW_NUMBER() OVER (
        PARTITION BY item_id ORDER BY distance, title DESC, brand DESC, categories DESC, description DESC
    ) AS choice
    FROM descriptions
    WHERE item_id IN (SELECT item_id FROM core)
) AS described ON kept.item_id = described.item_id AND choice = 1
"""

CLEAN_ITEMS_ROWS = "SELECT item_id, title, brand, categories, description FROM clean_items ORDER BY item_id"

DESCRIBED_ITEMS = """
SELECT COUNT(*) AS items, COUNT(CASE WHEN matched THEN 1 END) AS matched,
       COUNT(CASE WHEN title <> '' OR brand <> '' OR categories <> '' OR description <> '' THEN 1 END) AS described
FROM clean_items
"""

CORE_ITEM_IDS = "SELECT MIN(item_id) AS least, MAX(item_id) AS greatest FROM core"
METADATA_ITEM_IDS = "SELECT MIN(item_id) AS least, MAX(item_id) AS greatest FROM metadata"

# --- split ---------------------------------------------------------------------------------------

REVIEW_COUNTS = "SELECT COUNT(DISTINCT user_id) AS users, COUNT(*) AS rows FROM reviews"

# Users with fewer than three positives leave; the catalogue is the items with a positive among the
# rest. `position` orders all of a user's rows, `turn` the user's positives.
#
# Rows of one timestamp are in a drawn order. Their ids would not do: ids carry the age of a product, so that names
# would decide what is held out. The draw is a hash of seed, user and item: MD5 of a text is the same in every engine.
SPLIT_ROWS = """
WITH staying AS (
    SELECT user_id FROM reviews WHERE positive GROUP BY user_id HAVING COUNT(*) >= 3
), catalogue AS (
    SELECT DISTINCT item_id FROM reviews JOIN staying ON reviews.user_id = staying.user_id WHERE positive
), drawn AS (
    SELECT reviews.*, CASE WHEN $drawn THEN MD5($seed || ' ' || user_id || ' ' || item_id) ELSE item_id END AS tie
    FROM reviews
)
SELECT drawn.user_id, drawn.item_id, rating, timestamp, positive,
       ROW_NUMBER() OVER (PARTITION BY drawn.user_id ORDER BY timestamp, tie) AS position,
       ROW_NUMBER() OVER (PARTITION BY drawn.user_id, positive ORDER BY timestamp, tie) AS turn,
       COUNT(*) OVER (PARTITION BY drawn.user_id, positive) AS turns
FROM drawn
JOIN staying ON drawn.user_id = staying.user_id
JOIN catalogue ON drawn.item_id = catalogue.item_id
"""

# Each strategy says which positives are targets (1 validation, 2 test), and how early a row may count
# (`floor`: 0 training, 1 validation, 2 test), which cuts in time for all users and cold items restrict.
STRATEGIES = {
    "temporal": """
        SELECT *, CASE WHEN NOT positive THEN 0
                       WHEN turn > turns - held_out THEN 2
                       WHEN turn > turns - 2 * held_out THEN 1
                       ELSE 0 END AS target, 0 AS floor
        FROM (
            SELECT *, GREATEST(1, CAST(FLOOR($held_out_share * turns + 0.5) AS INTEGER)) AS held_out FROM rows
        ) AS sized
    """,
    "leave_one_out": """
        SELECT *, CASE WHEN NOT positive THEN 0
                       WHEN turn = turns THEN 2
                       WHEN turn = turns - 1 THEN 1
                       ELSE 0 END AS target, 0 AS floor
        FROM rows
    """,
    "global_temporal": """
        SELECT *, CASE WHEN positive THEN period ELSE 0 END AS target, period AS floor
        FROM (
            SELECT rows.*, CASE WHEN timestamp >= test_from THEN 2
                                WHEN timestamp >= validation_from THEN 1
                                ELSE 0 END AS period
            FROM rows, (
                SELECT MIN(CASE WHEN place > $validation_cut * places THEN timestamp END) AS validation_from,
                       MIN(CASE WHEN place > $test_cut * places THEN timestamp END) AS test_from
                FROM (
                    SELECT timestamp, ROW_NUMBER() OVER (ORDER BY timestamp) AS place, COUNT(*) OVER () AS places
                    FROM rows WHERE positive
                ) AS ordered
            ) AS cuts
        ) AS dated
    """,
    "cold_items": """
        SELECT rows.*, CASE WHEN positive THEN COALESCE(cold.part, 0) ELSE 0 END AS target,
               COALESCE(cold.part, 0) AS floor
        FROM rows LEFT JOIN cold ON rows.item_id = cold.item_id
    """,
}

# A row belongs to the part before the first target that its user has at or before it: what lies behind
# a validation target is not training, what lies behind a test target is only test. A validation target
# behind a test target (cold items) is therefore none.
SPLIT_PARTS = """
SELECT user_id, item_id, rating, timestamp, positive, position, part, target > 0 AND target = part AS target
FROM (
    SELECT marked.*, GREATEST(floor, CASE WHEN position >= first_test THEN 2
                                          WHEN position >= first_validation THEN 1 ELSE 0 END) AS part
    FROM marked JOIN (
        SELECT user_id, COALESCE(MIN(CASE WHEN target = 1 THEN position END), 2147483647) AS first_validation,
               COALESCE(MIN(CASE WHEN target = 2 THEN position END), 2147483647) AS first_test
        FROM marked GROUP BY user_id
    ) AS firsts ON marked.user_id = firsts.user_id
) AS placed
"""

# What an item is ranked among: the cold items of its part where it is one of them, else the whole catalogue.
SPLIT_POOLS = """
SELECT items.item_id, COALESCE(cold.part, 0) AS pool,
       CASE WHEN cold.part IS NULL THEN COUNT(*) OVER ()
            ELSE COUNT(*) OVER (PARTITION BY COALESCE(cold.part, 0)) END AS pool_size
FROM items LEFT JOIN cold ON items.item_id = cold.item_id
"""

# Two kinds of targets say nothing of a model, and are counted and left out. An `orphan` has no earlier positive of its
# user, and asks for a guess without a history (only cuts in time and cold items have such targets). One without
# competitors has a user who rated everything else that it is ranked among, and would be first whatever the scores.
SPLIT_FINAL = """
SELECT user_id, item_id, rating, timestamp, positive, position, part,
       target AND first_part < part AND rated < pool_size AS target,
       target AND first_part >= part AS orphan,
       target AND first_part < part AND rated >= pool_size AS without_competitors
FROM (
    SELECT parted.*, pool_size,
           MIN(CASE WHEN positive THEN part END) OVER (PARTITION BY user_id) AS first_part,
           CASE WHEN pool = 0 THEN COUNT(*) OVER (PARTITION BY user_id)
                ELSE COUNT(*) OVER (PARTITION BY user_id, pool) END AS rated
    FROM parted JOIN pools ON parted.item_id = pools.item_id
) AS aged
"""

# Users and items are numbered in a drawn order too: whatever goes by these numbers later, such as which of equally
# near items are neighbours, then does not go by names.
SPLIT_USERS = """
SELECT user_id, CAST(ROW_NUMBER() OVER (ORDER BY place) - 1 AS BIGINT) AS user_index
FROM (
    SELECT DISTINCT user_id, CASE WHEN $drawn THEN MD5($seed || ' ' || user_id) ELSE user_id END AS place FROM rows
) AS ids
"""
SPLIT_ITEMS = """
SELECT item_id, CAST(ROW_NUMBER() OVER (ORDER BY place) - 1 AS BIGINT) AS item_index
FROM (
    SELECT DISTINCT item_id, CASE WHEN $drawn THEN MD5($seed || ' ' || item_id) ELSE item_id END AS place FROM rows
) AS ids
"""

SPLIT_ITEM_IDS = "SELECT item_id FROM items ORDER BY item_index"

SPLIT_USER_INDEX = "SELECT user_index, user_id FROM users ORDER BY user_index"

SPLIT_ITEM_INDEX = """
SELECT item_index, items.item_id, title, COALESCE(cold.part, 0) AS cold
FROM items
JOIN described ON items.item_id = described.item_id
LEFT JOIN cold ON items.item_id = cold.item_id
ORDER BY item_index
"""

SPLIT_PART_ROWS = """
SELECT CAST(user_index AS INTEGER) AS user_index, CAST(item_index AS INTEGER) AS item_index,
       rating, timestamp, CAST(position AS INTEGER) AS position, positive, target, CAST(part AS TINYINT) AS part
FROM final JOIN users ON final.user_id = users.user_id JOIN items ON final.item_id = items.item_id
WHERE part BETWEEN $first AND $last
ORDER BY user_index, position
"""

# Days tie often: a boundary within a tie was decided by the draw and not by time.
TIED_USERS = """
SELECT COUNT(*) AS users FROM (
    SELECT DISTINCT ending.user_id
    FROM (
        SELECT user_id, part, MAX(timestamp) AS last_time FROM final WHERE positive GROUP BY user_id, part
    ) AS ending
    JOIN (
        SELECT user_id, part, MIN(timestamp) AS first_time FROM final WHERE target GROUP BY user_id, part
    ) AS beginning ON ending.user_id = beginning.user_id AND ending.part < beginning.part AND last_time = first_time
) AS tied
"""

# Lengths of histories, all parts together; a percentile is the value of a user there is.
SPLIT_LENGTHS = """
SELECT MIN(length) AS min,
       CAST(PERCENTILE_DISC(0.25) WITHIN GROUP (ORDER BY length) AS BIGINT) AS quartile_1,
       CAST(PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY length) AS BIGINT) AS median,
       CAST(PERCENTILE_DISC(0.75) WITHIN GROUP (ORDER BY length) AS BIGINT) AS quartile_3,
       MAX(length) AS max, AVG(length) AS mean
FROM (SELECT COUNT(*) AS length FROM final WHERE positive GROUP BY user_id) AS histories
"""

SPLIT_COUNTS = """
SELECT part, COUNT(*) AS rows, COUNT(*) FILTER (WHERE positive) AS positives, COUNT(*) FILTER (WHERE target) AS targets,
       COUNT(DISTINCT CASE WHEN target THEN user_id END) AS users,
       COUNT(*) FILTER (WHERE orphan) AS targets_without_history,
       COUNT(*) FILTER (WHERE without_competitors) AS targets_without_competitors,
       COUNT(*) FILTER (WHERE target AND first_liked >= part) AS targets_of_new_items
FROM (
    SELECT final.*, MIN(CASE WHEN positive THEN part END) OVER (PARTITION BY item_id) AS first_liked FROM final
) AS known
GROUP BY part ORDER BY part
"""

# --- embed ---------------------------------------------------------------------------------------

# Reviews join by user *and* item and only through rows of the training part, so that no other review
# can reach an item's text. The oldest come first: adding a review later changes the least. Those of one
# timestamp are in the order of their users' numbers, which are drawn.
#
# One row a review, and one of an item without any; an item's metadata stand in its first row alone.
ITEM_TEXTS = """
SELECT item_index, described.title, brand, categories, description, words
FROM catalogue
LEFT JOIN (
    SELECT catalogue.item_id AS spoken_id, TRIM(BOTH ' .' FROM said.title || '. ' || said.text) AS words,
           ROW_NUMBER() OVER (PARTITION BY catalogue.item_id ORDER BY said.timestamp, users.user_index) AS from_oldest
    FROM training
    JOIN users ON training.user_index = users.user_index
    JOIN catalogue ON training.item_index = catalogue.item_index
    JOIN said ON said.user_id = users.user_id AND said.item_id = catalogue.item_id
    WHERE training.part = 0 AND (said.title <> '' OR said.text <> '')
) AS spoken ON catalogue.item_id = spoken_id AND from_oldest <= $max_reviews
LEFT JOIN described ON catalogue.item_id = described.item_id AND COALESCE(from_oldest, 1) = 1
ORDER BY item_index, COALESCE(from_oldest, 1)
"""
