-- The index is sorted within each state only, so that a page of each state is read and merged.
SELECT found.* FROM unnest(%(statuses)s::text[]) AS wanted (status), LATERAL ({page}) AS found
ORDER BY created DESC, task_id DESC
LIMIT %(limit)s
