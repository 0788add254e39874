"""Global models and the local models that participants make of them."""
