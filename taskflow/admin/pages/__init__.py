"""The pages that a browser shows: templates, style sheets and scripts, as files."""
