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

-- The ids of all rows that match a pattern of LIKE; or so many of whatever, if there are more. These indexes find
-- all rows before they give the first one, and take long for what many have: so some 200 pages of the table are
-- looked at first. The settings are for the planner: a text that nobody has looks to it like one that many have.
CREATE OR REPLACE FUNCTION {schema}.few_with_text(wanted text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
    pages integer := (SELECT relpages FROM pg_class WHERE oid = '{schema}.tasks'::regclass);
BEGIN
    IF pages > 2000 AND 10 < (SELECT count(*) FROM (
        SELECT FROM {schema}.tasks TABLESAMPLE SYSTEM (20000.0 / pages) WHERE search LIKE wanted LIMIT 11
    ) AS sample) THEN
        RETURN QUERY SELECT ''::text FROM generate_series(1, most);
    ELSE
        RETURN QUERY
            (SELECT task_id FROM {schema}.tasks WHERE owner IS NULL AND search LIKE wanted LIMIT most)
            UNION ALL
            (SELECT task_id FROM {schema}.tasks WHERE owner IS NOT NULL AND search LIKE wanted LIMIT most);
    END IF;
END
$$;

-- The same for a tag.
CREATE OR REPLACE FUNCTION {schema}.few_with_tag(wanted text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
    pages integer := (SELECT relpages FROM pg_class WHERE oid = '{schema}.tasks'::regclass);
BEGIN
    IF pages > 2000 AND 10 < (SELECT count(*) FROM (
        SELECT FROM {schema}.tasks TABLESAMPLE SYSTEM (20000.0 / pages)
        -- The first condition only spares most rows the second one.
        WHERE strpos(search, lower(wanted)) > 0 AND {schema}.tag_parts(labels) @> ARRAY[wanted] LIMIT 11
    ) AS sample) THEN
        RETURN QUERY SELECT ''::text FROM generate_series(1, most);
    ELSE
        RETURN QUERY
            (SELECT task_id FROM {schema}.tasks
                WHERE owner IS NULL AND {schema}.tag_parts(labels) @> ARRAY[wanted] LIMIT most)
            UNION ALL
            (SELECT task_id FROM {schema}.tasks
                WHERE owner IS NOT NULL AND {schema}.tag_parts(labels) @> ARRAY[wanted] LIMIT most);
    END IF;
END
$$;
