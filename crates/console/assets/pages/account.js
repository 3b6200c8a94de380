// One's own password and sessions.
import { html, useState } from "../lib.js";
import { call } from "../calls.js";
import { ago } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { logOut, me } from "../session.js";
import { go } from "../router.js";
import { Button, Card, FormFault, Head, Submit, TextField, attempt, faultText, toast, useSubmit } from "../ui.js";
import { words } from "../words.js";
import { PasswordField, isLongEnough } from "./gate.js";

const text = words.account;

export default function Account() {
  return html`
    <main id="main">
      <${Head} title=${words.nav.account} text=${text.text} />
      ${me.value?.session ? html`<${OwnAccount} />` : html`<${NoPassword} />`}
    </main>`;
}

const NoPassword = () => html`<section class="card"><div class="body soft">${text.unavailable}</div></section>`;

function OwnAccount() {
  const read = useRead(["/admin/sessions"]);
  return html`
    <${Loaded} read=${read} what=${words.users.sessions}>
      ${(/** @type {any} */ { data }) => {
        // The session of the admin token is of no user.
        const current = data.find((/** @type {any} */ session) => session.current);
        const own = data.filter((/** @type {any} */ session) => session.current || (current?.user && session.user === current.user));
        return html`
          <div class="cols-2">
            ${current?.user ? html`<${Password} />` : html`<${NoPassword} />`}
            <${Sessions} sessions=${own} reload=${read.reload} everywhere />
          </div>`;
      }}
    <//>`;
}

function Password() {
  const [old, setOld] = useState("");
  const [password, setPassword] = useState("");
  const { busy, fault, run } = useSubmit();
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    run(async () => {
      await call("POST", "/admin/me/password", { old, new: password });
      setOld("");
      setPassword("");
      toast(text.changed);
    });
  };
  const wrong = fault?.status === 401;
  return html`
    <${Card} title=${text.password}>
      <form class="body stack-3" novalidate onSubmit=${submit}>
        <${TextField} label=${text.old} value=${old} onInput=${setOld} type="password" autocomplete="current-password" error=${wrong ? text.wrong : null} />
        <${PasswordField} label=${text.new} value=${password} onInput=${setPassword} />
        <${FormFault} text=${fault && !wrong && (fault.status === 429 ? words.login.wait(fault.retryAfter ?? 900) : faultText(fault))} />
        <div><${Submit} busy=${busy} disabled=${!old || !isLongEnough(password)} text=${text.submit} busyText=${text.submitting} /></div>
      </form>
    <//>`;
}

/**
 * Sessions, and buttons that end them.
 * @param {{ sessions: any[], reload: () => Promise<void>, everywhere?: boolean }} props everywhere: they are one's own, and can be ended together
 */
export function Sessions({ sessions, reload, everywhere }) {
  const end = (/** @type {any} */ session) => attempt(async () => {
    await call("DELETE", `/admin/sessions/${encodeURIComponent(session.id)}`);
    toast(words.users.ended);
    await reload();
  });
  const endAll = () => attempt(async () => {
    await logOut(true);
    go("");
  });
  return html`
    <${Card} title=${words.users.sessions} aside=${everywhere && html`<${Button} class="ghost small bad" onClick=${endAll}>${words.nav.logOutAll}<//>`}>
      <div class="body"><ul class="list small">
        ${sessions.map((session) => html`
          <li key=${session.id}>
            <span class="grow"><span class="medium name">${session.user ?? text.adminToken}</span> <span class="muted">${details(session)}</span></span>
            ${session.current
              ? html`<span class="tag abyss">${words.users.thisOne}</span>`
              : html`<${Button} class="ghost small" onClick=${() => end(session)}>${words.users.end}<//>`}
          </li>`)}
      </ul></div>
    <//>`;
}

/** @param {any} session */
const details = ({ address, user_agent: agent, used_at: used }) =>
  [agent && browserOf(agent), address && words.users.from(address), used && words.users.lastUsed(ago(used))].filter(Boolean).join(", ");

/** Browser and system of a `user-agent`, or its beginning. @param {string} agent */
function browserOf(agent) {
  const browser = /(Firefox|Edg|OPR|Chrome|Safari)\/\d+/.exec(agent)?.[1];
  const system = /Windows|Android|iPhone|iPad|Mac OS X|Linux/.exec(agent)?.[0];
  const names = /** @type {Record<string, string>} */ ({ Edg: "Edge", OPR: "Opera", "Mac OS X": "macOS" });
  if (!browser || !system) return agent.slice(0, 40);
  return text.browser(names[browser] ?? browser, names[system] ?? system);
}
