/** How a model is saved so that the server takes it, to copy. */
import { Code } from "../../components/code.js";
import { Tabs } from "../../components/tabs.js";
import { html, useState } from "../../html.js";

const WAYS = [
  {
    key: "torchscript",
    label: "TorchScript",
    when: "For networks with code of your own in forward(). Dropout can still be switched on for uncertainty.",
    code: `import torch

scripted = torch.jit.script(network)
torch.jit.save(scripted, "model.pt")`,
  },
  {
    key: "pickled",
    label: "Pickled module",
    when: "For networks made of torch.nn classes only, such as nn.Sequential. Classes of your own are refused: nothing in a file is run.",
    code: `import torch
from torch import nn

network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
torch.save(network, "model.pt")  # the module, not network.state_dict()`,
  },
  {
    key: "export",
    label: "torch.export",
    when: "The newer format of PyTorch. Dropout is gone from it, so it cannot do MC dropout.",
    code: `import torch

batch = torch.export.Dim("batch")
exported = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
torch.export.save(exported, "model.pt2")`,
  },
  {
    key: "preprocessing",
    label: "Preprocessing",
    when: "Optional, a file of its own: from an image to what the network takes.",
    code: `import torch
from torchvision.transforms import v2

preprocessing = v2.Compose([
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Resize((28, 28)),
    v2.Grayscale(),
])
torch.save(preprocessing, "preprocessing.pt")`,
  },
];

export function HowToSave() {
  const [way, setWay] = useState(WAYS[0].key);
  return html`<details class="more">
    <summary>How to save a model</summary>
    <div class="stack-small more-body">
      <p class="quiet">
        A state dict alone is not enough: without the module the server does not know the
        architecture.
      </p>
      <${Tabs}
        label="Ways to save a model"
        selected=${way}
        onSelect=${setWay}
        tabs=${WAYS.map(({ key, label, when, code }) => [
          key,
          label,
          () => html`<div class="stack-small">
            <p>${when}</p>
            <${Code} text=${code} label=${`Python: ${label}`} />
          </div>`,
        ])}
      />
    </div>
  </details>`;
}
