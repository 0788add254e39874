"""Programs that use Starling from outside, over HTTP, as its users do."""
