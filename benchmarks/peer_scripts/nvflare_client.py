"""What NVFlare's participants run: they return the model slightly changed."""

import numpy as np
import nvflare.client as flare

STEP = np.float32(1e-3)


def main() -> None:
    """Answer every round."""
    flare.init()
    while flare.is_running():
        received = flare.receive()
        if received is None:
            return
        changed = {name: layer + STEP for name, layer in received.params.items()}
        flare.send(flare.FLModel(params=changed, meta={"NUM_STEPS_CURRENT_ROUND": 100}))


if __name__ == "__main__":
    main()
