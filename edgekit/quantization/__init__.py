"""Float model, target and ranges -> QuantPlan (``place``, ``weights`` decide) -> QDQ model (``apply`` does)."""
