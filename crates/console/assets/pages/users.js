// Users, invitations and sessions.
import { html, useMaybe, useState } from "../lib.js";
import { call } from "../calls.js";
import { ago, count, dollars } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { me } from "../session.js";
import { Button, Card, Confirm, Copy, Dialog, EmptyCard, FormFault, Head, Menu, Select, SelectField, State, TextField, attempt, faultText, toast, useSubmit } from "../ui.js";
import { words } from "../words.js";
import { BudgetField, isNoBudget } from "../key_dialog.js";
import { Sessions } from "./account.js";

const text = words.users;
const ROLES = ["member", "viewer", "admin"];

export default function Users() {
  const read = useRead(["/admin/users", "/admin/keys", "/admin/projects", "/admin/sessions", "/admin/config"]);
  const [open, setOpen] = useMaybe();
  const close = () => setOpen(null);
  const isAdmin = me.value?.role === "admin";
  const change = async (/** @type {any} */ user, /** @type {any} */ body, /** @type {string} */ done) => {
    await call("PATCH", `/admin/users/${encodeURIComponent(user.name)}`, body);
    toast(done);
    await read.reload();
  };
  const link = (/** @type {any} */ user) => attempt(async () => {
    const made = await call("POST", `/admin/users/${encodeURIComponent(user.name)}/link`, {});
    setOpen({ link: made.link, title: text.linkTitle(user.name), text: text.linkText });
  });
  return html`
    <main id="main">
      <${Head} title=${words.nav.users} text=${text.text}>
        ${isAdmin && html`<${Button} class="main" icon="plus" onClick=${() => setOpen({ invite: true })}>${text.invite}<//>`}
      <//>
      <${Loaded} read=${read} what=${words.nav.users}>
        ${(/** @type {any[]} */ ...[users, keys, projects, sessions, config]) => html`
          <div class="stack">
            ${users.data.length === 0
              ? html`<${EmptyCard} title=${text.emptyTitle} text=${text.emptyText} />`
              : html`<${Table} users=${users.data} keys=${keys.data} projects=${projects.data} sessions=${sessions.data} isAdmin=${isAdmin} change=${change} link=${link} onOpen=${setOpen} />`}
            <div class="cols-2">
              <${SignUp} settings=${config.console} />
              ${sessions.data.length > 0 && html`<${Sessions} sessions=${sessions.data} reload=${read.reload} />`}
            </div>
          </div>`}
      <//>
      ${open?.invite && html`<${Invite} projects=${read.data?.[2].data ?? []} onClose=${close} onDone=${(/** @type {string} */ made) => setOpen({ link: made, title: text.invitedTitle, text: text.invitedText })} />`}
      ${open?.link && html`<${LinkDialog} title=${open.title} text=${open.text} link=${open.link} onClose=${close} />`}
      ${open?.budget && html`<${BudgetDialog} user=${open.budget} onClose=${close} act=${(/** @type {string | null} */ budget) => change(open.budget, { budget }, words.project.changed(open.budget.name))} />`}
      ${open?.disable && html`<${Confirm} title=${text.disableTitle(open.disable.name)} text=${text.disableText} submit=${text.disable}
        submitting=${text.disable} onClose=${close} act=${() => change(open.disable, { disabled: true }, text.disabled(open.disable.name))} />`}
    </main>`;
}

/** @param {{ users: any[], keys: any[], projects: any[], sessions: any[], isAdmin: boolean, change: any, link: any, onOpen: (open: any) => void }} props */
function Table({ users, keys, projects, sessions, isAdmin, change, link, onOpen }) {
  const [refusals, setRefusals] = useState(0);
  const setRole = (/** @type {any} */ user) => async (/** @type {string} */ role) => {
    try {
      await change(user, { role }, text.roleChanged(user.name, role));
    } catch (fault) {
      toast(faultText(fault), "bad");
      // The list of roles is drawn anew, with the role that the user still has.
      setRefusals((/** @type {number} */ before) => before + 1);
    }
  };
  const enable = (/** @type {any} */ user) => attempt(() => change(user, { disabled: false }, text.enabled(user.name)));
  const admins = users.filter((user) => user.role === "admin" && !user.disabled);
  const projectsOf = (/** @type {any} */ user) => projects.filter((project) => project.members?.includes(user.name)).map((project) => project.name).join(", ");
  const lastSeen = (/** @type {any} */ user) => Math.max(0, ...sessions.filter((session) => session.user === user.name).map((session) => session.used_at));
  return html`
    <section class="card"><div class="table-wrap"><table class="cards">
      <thead><tr>
        <th>${text.name}</th><th>${text.role}</th><th>${text.state}</th><th>${text.projects}</th>
        <th class="right">${text.budget}</th><th class="right">${text.keys}</th><th>${text.lastSeen}</th>
        <th><span class="sr">${words.more}</span></th>
      </tr></thead>
      <tbody>${users.map((user) => {
        const isLastAdmin = admins.length === 1 && admins[0] === user;
        const seen = lastSeen(user);
        return html`
          <tr key=${user.name}>
            <td class="full"><div class="row g3"><span class="avatar" aria-hidden="true">${[...user.name].slice(0, 2).join("").toUpperCase()}</span><span class="medium name">${user.name}</span></div></td>
            <td>${isAdmin && !isLastAdmin
              ? html`<${Select} key=${refusals} class="small w-auto" aria-label=${text.roleOf(user.name)} value=${user.role} choices=${ROLES.map((role) => [role, words.roles[role]])} onChange=${setRole(user)} />`
              : html`${words.roles[user.role]}${isLastAdmin && html`<span class="sub">${text.lastAdmin}</span>`}`}</td>
            <td class="right-phone"><${State} kind=${user.disabled ? "bad" : "good"}>${user.disabled ? words.state.disabled : words.state.active}<//></td>
            <td class="full" data-label=${text.projects.toLowerCase()}><span class="name">${projectsOf(user) || "–"}</span></td>
            <td class="right start-phone" data-label=${text.budget.toLowerCase()}>${user.budget === null ? "–" : dollars(user.budget)}</td>
            <td class="right end-phone" data-label=${text.keys.toLowerCase()}>${count(keys.filter((key) => key.user === user.name && !key.revoked_at).length)}</td>
            <td class="muted nowrap" data-label=${text.lastSeen.toLowerCase()}>${seen ? ago(seen) : "–"}</td>
            <td class="right more">${isAdmin && html`<${Menu} label=${words.moreFor(user.name)} actions=${[
              { text: text.link, act: () => link(user) },
              { text: words.project.change, act: () => onOpen({ budget: user }) },
              ...(user.disabled ? [{ text: text.enable, act: () => enable(user) }]
                : isLastAdmin ? [] : [{ text: text.disable, bad: true, act: () => onOpen({ disable: user }) }]),
            ]} />`}</td>
          </tr>`;
      })}</tbody>
    </table></div></section>`;
}

/** Who may create an account, and what it may spend: settings of the configuration. @param {{ settings: any }} props */
function SignUp({ settings: { signup, member_budget: budget } }) {
  const row = (/** @type {any} */ { from }, /** @type {string} */ title, /** @type {string} */ note) => html`
    <div class="row between"><div><div class="medium">${title}</div><div class="small muted">${note}</div></div><span class="tag">${words.settings.from[from]}</span></div>`;
  const { open, invited, gets, getsOpen, getsInvited, spend } = text.signup;
  const isOpen = signup.value === "open";
  return html`
    <${Card} title=${text.signup.title}><div class="body stack-3">
      ${row(signup, ...(isOpen ? open : invited))}
      <hr class="rule" />
      ${row(budget, gets, `${isOpen ? getsOpen : getsInvited} ${budget.value === null ? spend.any : spend.most(dollars(budget.value))}`)}
    </div><//>`;
}

/** @param {{ user: any, onClose: () => void, act: (budget: string | null) => Promise<void> }} props */
function BudgetDialog({ user, onClose, act }) {
  const [budget, setBudget] = useState(user.budget === null ? "" : String(Number(user.budget)));
  const { busy, fault, run } = useSubmit();
  const submit = () => isNoBudget(budget) || run(async () => {
    await act(budget.trim() || null);
    onClose();
  });
  return html`
    <${Dialog} title=${words.project.editTitle(user.name)} onClose=${onClose} onSubmit=${submit} submit=${{ busy, text: words.project.save, busyText: words.project.saving }}>
      <p class="soft">${text.budgetText}</p>
      <${BudgetField} value=${budget} onInput=${setBudget} hint=${text.budgetHint} autofocus />
      <${FormFault} text=${fault && faultText(fault)} />
    <//>`;
}

/** @param {{ projects: any[], onClose: () => void, onDone: (link: string) => void }} props */
function Invite({ projects, onClose, onDone }) {
  const [form, setForm] = useState({ name: "", role: "member", project: "default", budget: "", days: "7" });
  const { busy, fault, run } = useSubmit();
  const set = (/** @type {string} */ field) => (/** @type {string} */ value) => setForm((before) => ({ ...before, [field]: value }));
  const submit = () => isNoBudget(form.budget) || run(async () => {
    const { name, budget, days, ...rest } = form;
    const made = await call("POST", "/admin/invitations", {
      ...rest, days: Number(days), ...(name.trim() && { name: name.trim() }), ...(budget.trim() && { budget: budget.trim() }),
    });
    onDone(made.link);
  });
  const names = [...new Set(["default", ...projects.map(({ name }) => name)])];
  return html`
    <${Dialog} title=${text.inviteTitle} onClose=${onClose} onSubmit=${submit}
      submit=${{ busy, text: text.inviteSubmit, busyText: text.inviteSubmitting }}>
      <${TextField} label=${text.inviteName} value=${form.name} onInput=${set("name")} hint=${text.inviteNameHint} autofocus autocomplete="off"
        error=${fault?.param === "name" ? faultText(fault) : null} />
      <div class="cols-2">
        <${SelectField} label=${text.role} value=${form.role} choices=${ROLES.map((role) => [role, words.roles[role]])} onChange=${set("role")} hint=${words.roleHints[form.role]} />
        <${SelectField} label=${text.inviteProject} value=${form.project} choices=${names.map((name) => [name, name])} onChange=${set("project")} />
      </div>
      <div class="cols-2">
        <${BudgetField} value=${form.budget} onInput=${set("budget")} />
        <${SelectField} label=${text.inviteDays} value=${form.days} choices=${[1, 7, 14, 30].map((days) => [String(days), text.inviteDay(days)])} onChange=${set("days")} />
      </div>
      <${FormFault} text=${fault && fault.param !== "name" && faultText(fault)} />
    <//>`;
}

/** @param {{ title: string, text: string, link: string, onClose: () => void }} props */
const LinkDialog = ({ title, text, link, onClose }) => html`
  <${Dialog} title=${title} holds onClose=${onClose} onSubmit=${onClose} footer=${html`<button class="btn main" type="submit">${words.keyDialog.done}</button>`}>
    <p class="soft">${text}</p>
    <div class="once"><code class="cut">${link}</code><${Copy} class="main" text=${link} /></div>
  <//>`;
