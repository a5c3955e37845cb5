"""Real models with one fault put into each: what the causes that `edgekit debug` names are judged on."""
