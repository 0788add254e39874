/** Names of the owners of models. */
import * as api from "../../api.js";
import { personName } from "../../format.js";
import { session } from "../../session.js";

/** Users by id; asked for only where somebody else owns one of `models`. */
export async function loadPeople(models, signal) {
  const me = session.value.user;
  if (models.every((model) => model.owner === me.id)) return new Map([[me.id, me]]);
  const users = await api.get("/api/users/", { signal });
  return new Map(users.map((user) => [user.id, user]));
}

/** "me", or the name of the user with this id. */
export function nameOf(id, people) {
  if (id === session.value.user?.id) return "me";
  const user = people.get(id);
  return user ? personName(user) : "somebody else";
}
