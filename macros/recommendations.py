"""The one rule that scores destinations for users, as of any moment: for today's lists and for their evaluation."""

from sqlglot import exp, parse_one
from sqlmesh import macro

# A visitor counts for a pair as much as for the weaker of their two interests. Likeness is the cosine: a place that
# all users look at is not like everything; it lies between 0 and 1, and is 1 for the place itself. No user is offered
# what they just booked. Visitors and places are numbered first, and names come back last: joins, sums and the sort of
# millions of candidates are on whole numbers. A place's number follows its name, and `merit` is the score in thousandths,
# then how far that number is below a billion: one number sorts by score, then by name, and says both.
SCORES = """
WITH visitors AS (
  SELECT as_of, visitor_id, user_id, ROW_NUMBER() OVER (ORDER BY as_of, visitor_id) AS visitor
  FROM (
    SELECT as_of, visitor_id, MAX(user_id) AS user_id
    FROM looks
    GROUP BY as_of, visitor_id
  ) AS seen
), places AS (
  SELECT as_of, destination, ROW_NUMBER() OVER (ORDER BY as_of, destination) AS place
  FROM (
    SELECT DISTINCT as_of, destination
    FROM looks
  ) AS seen
), interests AS (
  SELECT visitors.visitor, places.place, SUM(looks.interest) AS interest, SUM(looks.bookings) AS bookings
  FROM looks AS looks
  INNER JOIN visitors ON visitors.as_of = looks.as_of AND visitors.visitor_id = looks.visitor_id
  INNER JOIN places ON places.as_of = looks.as_of AND places.destination = looks.destination
  GROUP BY visitors.visitor, places.place
), askers AS (
  SELECT DISTINCT visitors.visitor, visitors.as_of, visitors.user_id
  FROM visitors
  INNER JOIN asked AS asked ON asked.as_of = visitors.as_of AND asked.user_id = visitors.user_id
  UNION ALL
  SELECT -MIN(place), as_of, '__popular__'
  FROM places
  GROUP BY as_of
), popularity AS (
  SELECT place, SUM(interest) AS interest
  FROM interests
  GROUP BY place
), covisits AS (
  SELECT seen.place AS seen, other.place AS other, SUM(LEAST(seen.interest, other.interest)) AS interest
  FROM interests AS seen
  INNER JOIN interests AS other ON other.visitor = seen.visitor AND other.place <> seen.place
  GROUP BY seen.place, other.place
), likeness AS (
  SELECT covisits.seen, covisits.other, covisits.interest / SQRT(seen.interest * other.interest) AS likeness,
    ROW_NUMBER() OVER (
      PARTITION BY covisits.seen
      ORDER BY covisits.interest / SQRT(seen.interest * other.interest) DESC, covisits.other
    ) AS nearness
  FROM covisits
  INNER JOIN popularity AS seen ON seen.place = covisits.seen
  INNER JOIN popularity AS other ON other.place = covisits.other
  UNION ALL
  SELECT place, place, 1.0, 0
  FROM popularity
), candidates AS (
  SELECT interests.visitor, likeness.other AS place, SUM(interests.interest * likeness.likeness) AS points
  FROM interests
  INNER JOIN likeness ON likeness.seen = interests.place AND likeness.nearness <= :neighbours
  INNER JOIN askers ON askers.visitor = interests.visitor
  GROUP BY interests.visitor, likeness.other
  UNION ALL
  SELECT askers.visitor, popularity.place, popularity.interest
  FROM popularity
  INNER JOIN places ON places.place = popularity.place
  INNER JOIN askers ON askers.as_of = places.as_of AND askers.user_id = '__popular__'
), offers AS (
  SELECT candidates.visitor, candidates.place, candidates.points
  FROM candidates
  LEFT JOIN interests AS booked
    ON booked.visitor = candidates.visitor AND booked.place = candidates.place AND booked.bookings > 0
  WHERE booked.visitor IS NULL
), best AS (
  SELECT visitor, MAX(points) AS points
  FROM offers
  GROUP BY visitor
), scored AS (
  SELECT offers.visitor, offers.place, ROUND(offers.points / best.points * 1000)::BIGINT AS thousandths
  FROM offers
  INNER JOIN best ON best.visitor = offers.visitor
), ranked AS (
  SELECT visitor, merit, ROW_NUMBER() OVER (PARTITION BY visitor ORDER BY merit DESC) AS rank
  FROM (
    SELECT visitor, thousandths * 1000000000 + 999999999 - place AS merit
    FROM scored
    WHERE thousandths > 0
  ) AS worth
)
SELECT askers.as_of, askers.user_id, places.destination, (ranked.merit // 1000000000) / 1000.0::DOUBLE AS score, ranked.rank
FROM ranked
INNER JOIN askers ON askers.visitor = ranked.visitor
INNER JOIN places ON places.place = 999999999 - ranked.merit % 1000000000
"""


@macro()
def recommendation_scores(evaluator, looks, asked=None):  # type: ignore[no-untyped-def]
    """Return scores of destinations, above all by who looked at both: one row per moment, user ('__popular__' too) and
    destination.

    `looks` names a relation with as_of, visitor_id, user_id, destination, interest and bookings; only what was known at
    the moment `as_of` may be in it. A score is relative to the user's best, which has 1; one of 0 is no recommendation.
    A rank counts from 1 and follows the score, then the name.
    All teach, but only users in `asked`, a relation with as_of and user_id, get a list; without it every user does.
    Example: `FROM @RECOMMENDATION_SCORES(looks) AS scores` renders `FROM (WITH interests AS (...) SELECT ...) AS scores`.
    """
    query = parse_one(SCORES, dialect="duckdb")
    neighbours = exp.Literal.number(evaluator.var("recommendation_neighbours"))
    names = {"looks": looks.name, "asked": asked.name if asked is not None else looks.name}
    for place in query.find_all(exp.Placeholder):
        place.replace(neighbours.copy())
    for table in query.find_all(exp.Table):
        if table.name in names:
            table.set("this", exp.to_identifier(names[table.name]))
    return query.subquery(copy=False)
