"""Float model, target, ranges -> QuantPlan (``place``, ``weights`` decide) -> QDQ model (``apply`` does)."""
