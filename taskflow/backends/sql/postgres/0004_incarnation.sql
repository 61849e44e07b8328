-- Who finds another one knows that the tasks were emptied, or made anew.
CREATE TABLE {schema}.store (incarnation text COLLATE "C" NOT NULL);
INSERT INTO {schema}.store VALUES (md5(random()::text || clock_timestamp()::text));

CREATE FUNCTION {schema}.renew_incarnation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {schema}.store SET incarnation = md5(random()::text || clock_timestamp()::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_truncated AFTER TRUNCATE ON {schema}.tasks
    FOR EACH STATEMENT EXECUTE PROCEDURE {schema}.renew_incarnation();
