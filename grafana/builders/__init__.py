"""The dashboards as code: one module per dashboard, and what they are made of."""
