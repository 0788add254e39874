"""The demo: participants train one digit recogniser together, each on data only it can see."""
