"""Two runners and data -> metric values, paired drops with intervals, drift, a verdict."""
