-- Rows are indexed when they have ended: those that have not are few, and each is written three times and more.

-- A label, and what is before each of its `=`: a tag that is asked for is one of these.
CREATE OR REPLACE FUNCTION {schema}.tag_parts(labels jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT array_to_string(parts[:length], '=')), ARRAY[]::text[])
    FROM jsonb_array_elements_text(labels) AS label,
        LATERAL (SELECT string_to_array(label, '=') AS parts) AS split,
        LATERAL generate_series(1, cardinality(parts)) AS length
$$;

CREATE INDEX IF NOT EXISTS tasks_search ON {schema}.tasks USING gin (search {trigrams}.gin_trgm_ops)
    WHERE owner IS NULL;
CREATE INDEX IF NOT EXISTS tasks_tags ON {schema}.tasks USING gin ({schema}.tag_parts(labels))
    WHERE owner IS NULL;

-- The ids of rows that may match, at most so many. The settings are for the planner: a text that nobody has
-- looks to it like one that many have.
CREATE OR REPLACE FUNCTION {schema}.few_with_text(pattern text, most integer) RETURNS SETOF text
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
    (SELECT task_id FROM {schema}.tasks WHERE owner IS NULL AND search LIKE pattern LIMIT most)
    UNION ALL
    (SELECT task_id FROM {schema}.tasks WHERE owner IS NOT NULL AND search LIKE pattern LIMIT most)
$$;

CREATE OR REPLACE FUNCTION {schema}.few_with_tag(tag text, most integer) RETURNS SETOF text
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
    (SELECT task_id FROM {schema}.tasks
        WHERE owner IS NULL AND {schema}.tag_parts(labels) @> ARRAY[tag] LIMIT most)
    UNION ALL
    (SELECT task_id FROM {schema}.tasks
        WHERE owner IS NOT NULL AND {schema}.tag_parts(labels) @> ARRAY[tag] LIMIT most)
$$;
