/** Upload of a model. */
import * as api from "../api.js";
import { LinkButton } from "../components/button.js";
import { PageHead } from "../components/page_head.js";
import { Loaded } from "../components/states.js";
import { toast } from "../components/toast.js";
import { html } from "../html.js";
import { useResource } from "../resource.js";
import { go } from "../router.js";
import { session } from "../session.js";
import { UploadForm } from "./models/upload_form.js";

export default function NewModel({ query }) {
  const models = useResource((signal) => api.get("/api/models/", { signal }), []);
  function done(id) {
    toast("The model is there.");
    go(`/models/${id}`);
  }
  return html`
    <${PageHead}
      title="New model"
      lead="The server looks at the file in a process of its own, runs nothing that is in it, and takes it only if it is a model."
      actions=${html`<${LinkButton} to="/models">Back to models<//>`}
    />
    <div class="panel panel-body form-page">
      <${Loaded} resource=${models}>
        ${(all) => html`<${UploadForm}
          own=${all.filter((model) => model.owner === session.value.user?.id)}
          initialKind=${query.kind === "MEAN" ? "MEAN" : "GLOBAL"}
          onDone=${done}
        />`}
      <//>
    </div>
  `;
}
