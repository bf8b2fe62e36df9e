// The login in front of the status page, until it is seen that somebody is logged in.

import { at, text } from "./dom.js";

/** Show the form; onDone() once the server has set its cookie. */
export function askLogin(onDone) {
  const form = at("login");
  document.body.dataset.link = "login";
  form.hidden = false;
  at("username").focus();
  form.onsubmit = async (event) => {
    event.preventDefault();
    at("login-button").disabled = true;
    const problem = await logIn(at("username").value, at("password").value);
    at("login-button").disabled = false;
    at("password").value = "";
    text(at("login-problem"), problem);
    if (problem) return at("password").focus();
    form.hidden = true;
    onDone();
  };
}

/** "" when it worked, else a sentence that says why not. */
async function logIn(username, password) {
  try {
    const answer = await fetch("/api/v1/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username, password }),
    });
    if (answer.ok) return "";
    return (await answer.json()).detail || `The server answered ${answer.status}.`;
  } catch {
    return "The server does not answer. Try again in a moment.";
  }
}
