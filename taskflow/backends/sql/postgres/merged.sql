-- An index has the rows of each state in order, and not those of several: a page of each is merged.
SELECT found.* FROM unnest(%(statuses)s::text[]) AS wanted (status), LATERAL ({page}) AS found
ORDER BY created DESC, task_id DESC
LIMIT %(limit)s
