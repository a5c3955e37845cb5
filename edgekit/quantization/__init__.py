"""Float model, target and ranges -> QuantPlan (``place`` decides) -> QDQ model (``apply`` does)."""
