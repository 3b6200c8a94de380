// Users, invitations and sessions.
import { html, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { call } from "../calls.js";
import { ago, count, dollars } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { me } from "../session.js";
import { Card, Confirm, Copy, Dialog, Empty, FormFault, Head, Menu, Select, SelectField, State, Submit, TextField, faultText, toast, useSubmit } from "../ui.js";
import { words } from "../words.js";
import { isAmount } from "../key_dialog.js";
import { Sessions } from "./account.js";

const ROLES = ["member", "viewer", "admin"];

export default function Users() {
  const read = useRead(["/admin/users", "/admin/keys", "/admin/projects", "/admin/sessions", "/admin/config"]);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const isAdmin = me.value?.role === "admin";
  const change = async (/** @type {any} */ user, /** @type {any} */ body, /** @type {string} */ done) => {
    await call("PATCH", `/admin/users/${encodeURIComponent(user.name)}`, body);
    toast(done);
    await read.reload();
  };
  const link = async (/** @type {any} */ user) => {
    try {
      const made = await call("POST", `/admin/users/${encodeURIComponent(user.name)}/link`, {});
      setOpen({ link: made.link, title: words.users.linkTitle(user.name), text: words.users.linkText });
    } catch (fault) {
      toast(faultText(fault), "bad");
    }
  };
  return html`
    <main id="main">
      <${Head} title=${words.nav.users} text=${words.users.text}>
        ${isAdmin && html`<button class="btn main" type="button" onClick=${() => setOpen({ invite: true })}><${Icon} name="plus" />${words.users.invite}</button>`}
      <//>
      <${Loaded} read=${read} what=${words.nav.users}>
        ${(/** @type {any} */ users, /** @type {any} */ keys, /** @type {any} */ projects, /** @type {any} */ sessions, /** @type {any} */ config) => html`
          <div class="stack">
            ${users.data.length === 0
              ? html`<section class="card"><${Empty} title=${words.users.emptyTitle} text=${words.users.emptyText} /></section>`
              : html`<${Table} users=${users.data} keys=${keys.data} projects=${projects.data} sessions=${sessions.data} isAdmin=${isAdmin} change=${change} link=${link} onOpen=${setOpen} />`}
            <div class="cols-2">
              <${SignUp} settings=${config.console} />
              ${sessions.data.length > 0 && html`<${Sessions} sessions=${sessions.data} reload=${read.reload} />`}
            </div>
          </div>`}
      <//>
      ${open?.invite && html`<${Invite} projects=${read.data?.[2].data ?? []} onClose=${close} onDone=${(/** @type {string} */ made) => setOpen({ link: made, title: words.users.invitedTitle, text: words.users.invitedText })} />`}
      ${open?.link && html`<${LinkDialog} title=${open.title} text=${open.text} link=${open.link} onClose=${close} />`}
      ${open?.budget && html`<${BudgetDialog} user=${open.budget} onClose=${close} act=${(/** @type {string | null} */ budget) => change(open.budget, { budget }, words.users.budgetChanged(open.budget.name))} />`}
      ${open?.disable && html`<${Confirm} title=${words.users.disableTitle(open.disable.name)} text=${words.users.disableText} submit=${words.users.disable}
        submitting=${words.users.disable} onClose=${close} act=${() => change(open.disable, { disabled: true }, words.users.disabled(open.disable.name))} />`}
    </main>`;
}

/** @param {{ users: any[], keys: any[], projects: any[], sessions: any[], isAdmin: boolean, change: any, link: any, onOpen: (open: any) => void }} props */
function Table({ users, keys, projects, sessions, isAdmin, change, link, onOpen }) {
  const [refusals, setRefusals] = useState(0);
  const setRole = (/** @type {any} */ user) => async (/** @type {string} */ role) => {
    try {
      await change(user, { role }, words.users.roleChanged(user.name, role));
    } catch (fault) {
      toast(faultText(fault), "bad");
      // The list of roles is drawn anew, with the role that the user still has.
      setRefusals((/** @type {number} */ before) => before + 1);
    }
  };
  const enable = (/** @type {any} */ user) => change(user, { disabled: false }, words.users.enabled(user.name)).catch((/** @type {any} */ fault) => toast(faultText(fault), "bad"));
  const admins = users.filter((user) => user.role === "admin" && !user.disabled);
  const projectsOf = (/** @type {any} */ user) => projects.filter((project) => project.members?.includes(user.name)).map((project) => project.name).join(", ");
  const lastSeen = (/** @type {any} */ user) => Math.max(0, ...sessions.filter((session) => session.user === user.name).map((session) => session.used_at));
  return html`
    <section class="card"><div class="table-wrap"><table class="cards">
      <thead><tr>
        <th>${words.users.name}</th><th>${words.users.role}</th><th>${words.users.state}</th><th>${words.users.projects}</th>
        <th class="right">${words.users.budget}</th><th class="right">${words.users.keys}</th><th>${words.users.lastSeen}</th>
        <th><span class="sr">${words.more}</span></th>
      </tr></thead>
      <tbody>${users.map((user) => {
        const isLastAdmin = admins.length === 1 && admins[0] === user;
        const seen = lastSeen(user);
        return html`
          <tr key=${user.name}>
            <td class="full"><div class="row g3"><span class="avatar" aria-hidden="true">${[...user.name].slice(0, 2).join("").toUpperCase()}</span><span class="medium name">${user.name}</span></div></td>
            <td>${isAdmin && !isLastAdmin
              ? html`<${Select} key=${refusals} class="small w-auto" aria-label=${words.users.roleOf(user.name)} value=${user.role} choices=${ROLES.map((role) => [role, words.roles[role]])} onChange=${setRole(user)} />`
              : html`${words.roles[user.role]}${isLastAdmin && html`<span class="sub">${words.users.lastAdmin}</span>`}`}</td>
            <td class="right-phone"><${State} kind=${user.disabled ? "bad" : "good"}>${user.disabled ? words.state.disabled : words.state.active}<//></td>
            <td class="full" data-label=${words.users.projects.toLowerCase()}><span class="name">${projectsOf(user) || "–"}</span></td>
            <td class="right start-phone" data-label=${words.users.budget.toLowerCase()}>${user.budget === null ? "–" : dollars(user.budget)}</td>
            <td class="right end-phone" data-label=${words.users.keys.toLowerCase()}>${count(keys.filter((key) => key.user === user.name && !key.revoked_at).length)}</td>
            <td class="muted nowrap" data-label=${words.users.lastSeen.toLowerCase()}>${seen ? ago(seen) : "–"}</td>
            <td class="right more">${isAdmin && html`<${Menu} label=${words.moreFor(user.name)} actions=${[
              { text: words.users.link, act: () => link(user) },
              { text: words.users.changeBudget, act: () => onOpen({ budget: user }) },
              ...(user.disabled ? [{ text: words.users.enable, act: () => enable(user) }]
                : isLastAdmin ? [] : [{ text: words.users.disable, bad: true, act: () => onOpen({ disable: user }) }]),
            ]} />`}</td>
          </tr>`;
      })}</tbody>
    </table></div></section>`;
}

/** Who may create an account, and what it may spend: settings of the configuration. @param {{ settings: any }} props */
function SignUp({ settings: { signup, member_budget: budget } }) {
  const row = (/** @type {any} */ { from }, /** @type {string} */ title, /** @type {string} */ note) => html`
    <div class="row between"><div><div class="medium">${title}</div><div class="small muted">${note}</div></div><span class="tag">${words.settings.from[from]}</span></div>`;
  const { open, invited, gets, getsOpen, getsInvited, spend } = words.users.signup;
  const isOpen = signup.value === "open";
  return html`
    <${Card} title=${words.users.signup.title}><div class="body stack-3">
      ${row(signup, ...(isOpen ? open : invited))}
      <hr class="rule" />
      ${row(budget, gets, `${isOpen ? getsOpen : getsInvited} ${budget.value === null ? spend.any : spend.most(dollars(budget.value))}`)}
    </div><//>`;
}

/** @param {{ user: any, onClose: () => void, act: (budget: string | null) => Promise<void> }} props */
function BudgetDialog({ user, onClose, act }) {
  const [budget, setBudget] = useState(user.budget === null ? "" : String(Number(user.budget)));
  const { busy, fault, run } = useSubmit();
  const wrong = budget.trim() !== "" && !isAmount(budget);
  const submit = () => wrong || run(async () => {
    await act(budget.trim() || null);
    onClose();
  });
  return html`
    <${Dialog} title=${words.users.budgetTitle(user.name)} onClose=${onClose} onSubmit=${submit} footer=${html`
      <button class="btn ghost" type="button" onClick=${onClose}>${words.cancel}</button>
      <${Submit} busy=${busy} text=${words.project.save} busyText=${words.project.saving} />`}>
      <p class="soft">${words.users.budgetText}</p>
      <${TextField} label=${words.users.budget} value=${budget} onInput=${setBudget} unit="$" inputmode="decimal" autocomplete="off" autofocus
        hint=${words.users.budgetHint} error=${wrong ? words.keyDialog.budgetRule : null} />
      <${FormFault} text=${fault && faultText(fault)} />
    <//>`;
}

/** @param {{ projects: any[], onClose: () => void, onDone: (link: string) => void }} props */
function Invite({ projects, onClose, onDone }) {
  const [form, setForm] = useState({ name: "", role: "member", project: "default", budget: "", days: "7" });
  const { busy, fault, run } = useSubmit();
  const set = (/** @type {string} */ field) => (/** @type {string} */ value) => setForm((before) => ({ ...before, [field]: value }));
  const wrong = form.budget.trim() !== "" && !isAmount(form.budget);
  const submit = () => wrong || run(async () => {
    const { name, budget, days, ...rest } = form;
    const made = await call("POST", "/admin/invitations", {
      ...rest, days: Number(days), ...(name.trim() && { name: name.trim() }), ...(budget.trim() && { budget: budget.trim() }),
    });
    onDone(made.link);
  });
  const names = [...new Set(["default", ...projects.map(({ name }) => name)])];
  return html`
    <${Dialog} title=${words.users.inviteTitle} onClose=${onClose} onSubmit=${submit} footer=${html`
      <button class="btn ghost" type="button" onClick=${onClose}>${words.cancel}</button>
      <${Submit} busy=${busy} text=${words.users.inviteSubmit} busyText=${words.users.inviteSubmitting} />`}>
      <${TextField} label=${words.users.inviteName} value=${form.name} onInput=${set("name")} hint=${words.users.inviteNameHint} autofocus autocomplete="off"
        error=${fault?.param === "name" ? faultText(fault) : null} />
      <div class="cols-2">
        <${SelectField} label=${words.users.role} value=${form.role} choices=${ROLES.map((role) => [role, words.roles[role]])} onChange=${set("role")} hint=${words.roleHints[form.role]} />
        <${SelectField} label=${words.users.inviteProject} value=${form.project} choices=${names.map((name) => [name, name])} onChange=${set("project")} />
      </div>
      <div class="cols-2">
        <${TextField} label=${words.keys.budget} value=${form.budget} onInput=${set("budget")} unit="$" inputmode="decimal" autocomplete="off"
          hint=${words.keyDialog.budgetHint} error=${wrong ? words.keyDialog.budgetRule : null} />
        <${SelectField} label=${words.users.inviteDays} value=${form.days} choices=${[1, 7, 14, 30].map((days) => [String(days), words.users.inviteDay(days)])} onChange=${set("days")} />
      </div>
      <${FormFault} text=${fault && fault.param !== "name" && faultText(fault)} />
    <//>`;
}

/** @param {{ title: string, text: string, link: string, onClose: () => void }} props */
const LinkDialog = ({ title, text, link, onClose }) => html`
  <${Dialog} title=${title} holds onClose=${onClose} onSubmit=${onClose} footer=${html`<button class="btn main" type="submit">${words.users.linkDone}</button>`}>
    <p class="soft">${text}</p>
    <div class="once"><code class="cut">${link}</code><${Copy} class="main" text=${link} /></div>
  <//>`;
