// The pages of somebody who is not logged in: log in, the first owner, sign-up by invitation, a new password.
import { html, useEffect, useElement, useState } from "../lib.js";
import { Whale } from "../icons.js";
import { call } from "../calls.js";
import { href } from "../router.js";
import { Sea } from "../sea.js";
import { identify, oneTimeLink, site } from "../session.js";
import { Button, FormFault, Note, Submit, TextField, faultText, withCode, useSubmit } from "../ui.js";
import { words } from "../words.js";

const { login, signup, welcome } = words;

/** The frame of these pages. @param {{ title: string, first?: string, onSubmit: () => void, children: any }} props first: names the first field, if it changes */
function Gate({ title, first, onSubmit, children }) {
  const form = useElement();
  useEffect(() => {
    document.title = `${title} · ${words.name}`;
    // Browsers heed `autofocus` when a page is loaded, not when it changes.
    form.current?.querySelector("input")?.focus();
  }, [title, first]);
  return html`
    <div class="gate">
      <main class="form" id="main">
        <form novalidate ref=${form} onSubmit=${(/** @type {Event} */ event) => {
          event.preventDefault();
          onSubmit();
        }}>
          <div class="brand flush"><${Whale} />${words.name}</div>
          <h1 class="gate-title">${title}</h1>
          ${children}
        </form>
      </main>
      <${Sea} />
    </div>`;
}

/** Goes on to the page below, as whoever this browser is by now. */
async function leave() {
  await identify();
  oneTimeLink.value = null;
}

/** A form that begins a session. @param {string} path @param {unknown} body */
function useEntry(path, body) {
  const { busy, fault, run } = useSubmit();
  return { busy, fault, submit: () => run(async () => {
    await call("POST", path, body);
    await leave();
  }) };
}

/**
 * What went wrong, unless it is said at its field.
 * @param {any} fault @param {string} wrong what a refusal means here
 */
function refusal(fault, wrong) {
  if (!fault || fault.param === "name" || fault.param === "password") return null;
  if (fault.status === 429) return login.wait(fault.retryAfter ?? 900);
  if (fault.status === 401) return wrong;
  if (fault.status === 404 || fault.status === 405) return login.noSessions;
  return faultText(fault);
}

/** @param {{ again?: boolean }} props again: a session ended, and its page waits */
export function Login({ again }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [key, setKey] = useState("");
  const [withKey, setWithKey] = useState(false);
  const { busy, fault, run } = useSubmit();
  const submit = () =>
    run(async () => {
      await call("POST", "/admin/session", withKey ? { key: key.trim() } : { name, password });
      setPassword("");
      setKey("");
      await identify();
    });
  const [wrong, text] = fault?.status === 401 ? [withKey ? login.wrongKey : login.wrong, null] : [null, refusal(fault, "")];
  const empty = withKey ? !key.trim() : !name || !password;
  return html`
    <${Gate} title=${login.title(location.host)} first=${withKey ? "key" : "name"} onSubmit=${submit}>
      ${again && html`<${Note}>${login.expired}<//>`}
      ${withKey
        ? html`<${TextField} key="key" label=${login.key} value=${key} onInput=${setKey} type="password" autocomplete="off" autofocus
            hint=${login.keyHint} error=${wrong} />`
        : html`
          <${TextField} key="name" label=${login.user} value=${name} onInput=${setName} autocomplete="username" autofocus />
          <${TextField} key="password" label=${login.password} value=${password} onInput=${setPassword} type="password"
            autocomplete="current-password" error=${wrong} />`}
      <${FormFault} text=${text} />
      <${Submit} busy=${busy} disabled=${empty} text=${login.submit} busyText=${login.submitting} />
      <${Button} class="ghost" onClick=${() => setWithKey(!withKey)}>${withKey ? login.withName : login.withKey}<//>
      <hr class="rule" />
      <p class="small soft">${login.noAccount} ${site.value.signup === "open"
        ? html`<button class="link" type="button" onClick=${() => {
          oneTimeLink.value = { kind: "invitation" };
        }}>${signup.submit}</button>`
        : site.value.has_owner === false ? login.noOwner : login.askInvitation}</p>
      ${site.value.guide === "public" && html`<p class="small"><a href=${href("guide")}>${login.readGuide}</a></p>`}
    <//>`;
}

/** Name and password of a new account. @param {{ account: any, set: (account: any) => void, fault: any }} props */
const AccountFields = ({ account, set, fault }) => html`
  <${TextField} label=${welcome.user} value=${account.name} onInput=${(/** @type {string} */ name) => set({ ...account, name })}
    autocomplete="username" autofocus hint=${welcome.userHint} error=${fault?.param === "name" ? faultText(fault) : null} />
  <${PasswordField} value=${account.password} onInput=${(/** @type {string} */ password) => set({ ...account, password })}
    error=${fault?.param === "password" ? faultText(fault) : null} />`;

/** @param {{ value: string, onInput: (value: string) => void, label?: string, error?: string | null }} props */
export const PasswordField = ({ value, onInput, label, error }) => html`
  <${TextField} label=${label ?? welcome.password} value=${value} onInput=${onInput} type="password" autocomplete="new-password"
    hint=${welcome.passwordHint} error=${error} />`;

/** @param {string} password */
export const isLongEnough = (password) => [...password].length >= 12 && [...password].length <= 256;

/** @param {{ token?: string }} props token: of the printed link; none for whoever is on the machine of the server */
export function Welcome({ token }) {
  const [account, setAccount] = useState({ name: "", password: "" });
  const { busy, fault, submit } = useEntry("/admin/setup", { ...(token && { token }), ...account });
  if (site.value.has_owner && !busy) {
    return html`
      <${Gate} title=${welcome.owned} onSubmit=${leave}>
        <p class="soft">${withCode(welcome.ownedText)}</p>
        <${Submit} text=${login.submit} />
      <//>`;
  }
  return html`
    <${Gate} title=${token ? welcome.title : welcome.own} onSubmit=${submit}>
      <p class="soft">${token ? welcome.text : welcome.ownText}</p>
      <${AccountFields} account=${account} set=${setAccount} fault=${fault} />
      <${Note}>${welcome.note}<//>
      <${FormFault} text=${refusal(fault, token ? welcome.used : welcome.owned)} />
      <${Submit} busy=${busy} disabled=${!account.name || !isLongEnough(account.password)} text=${welcome.submit} busyText=${signup.submitting} />
      <p class="small soft">
        <button class="link" type="button" onClick=${leave}>${welcome.skip}</button>${welcome.skipText}
      </p>
    <//>`;
}

/** @param {{ token?: string }} props token: of an invitation */
export function SignUp({ token }) {
  const [account, setAccount] = useState({ name: "", password: "" });
  const { busy, fault, submit } = useEntry("/admin/signup", { ...(token && { token }), ...account });
  const text = fault?.code === "signup_closed" ? signup.closed : refusal(fault, signup.used);
  return html`
    <${Gate} title=${signup.title(location.host)} onSubmit=${submit}>
      ${token && html`<p class="soft">${signup.text}</p>`}
      <${AccountFields} account=${account} set=${setAccount} fault=${fault} />
      <${FormFault} text=${text} />
      <${Submit} busy=${busy} disabled=${!account.name || !isLongEnough(account.password)} text=${signup.submit} busyText=${signup.submitting} />
      <p class="small soft">${signup.haveAccount} <button class="link" type="button" onClick=${leave}>${login.submit}</button></p>
    <//>`;
}

/** @param {{ token: string }} props */
export function NewPassword({ token }) {
  const [password, setPassword] = useState("");
  const { busy, fault, submit } = useEntry("/admin/password", { token, password });
  return html`
    <${Gate} title=${words.newPassword.title} onSubmit=${submit}>
      <p class="soft">${words.newPassword.text}</p>
      <${PasswordField} value=${password} onInput=${setPassword} error=${fault?.param === "password" ? faultText(fault) : null} />
      <${FormFault} text=${refusal(fault, words.newPassword.used)} />
      <${Submit} busy=${busy} disabled=${!isLongEnough(password)} text=${words.newPassword.submit} busyText=${words.newPassword.submitting} />
    <//>`;
}
