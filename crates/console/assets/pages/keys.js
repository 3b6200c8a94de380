// API keys and projects: what they spent, their limits; create, change, revoke.
import { html, useEffect, useMaybe, useState } from "../lib.js";
import { call } from "../calls.js";
import { count, day, dollars } from "../format.js";
import { BudgetField, CreateKey, KeyDialog, isNoBudget } from "../key_dialog.js";
import { Loaded, useRead } from "../read.js";
import { href, query, setQuery } from "../router.js";
import { me, tabKey } from "../session.js";
import { Button, Card, Confirm, Dialog, EmptyCard, FormFault, Head, Menu, Meter, Search, Segments, Select, State, TextField, faultText, toast, useSubmit } from "../ui.js";
import { words } from "../words.js";

const text = words.keys;

/** The state of a key: kind of dot, word. @param {any} key @returns {[string, string]} */
export function keyState(key) {
  const now = Date.now() / 1000;
  if (key.revoked_at) return ["off", words.state.revoked];
  if (key.expires_at && key.expires_at <= now) return ["off", words.state.expired];
  if (key.budget == null) return ["good", words.state.good];
  const share = Number(key.spent) / Number(key.budget);
  if (!(share < 1)) return ["bad", words.state.used];
  return share > 0.9 ? ["warn", words.state.ends] : ["good", words.state.good];
}

/** @param {any} key */
function limitsText(key) {
  const { requests_per_minute: requests, tokens_per_minute: tokens, concurrency, models, networks, expires_at: expires } = key;
  const parts = [
    requests && text.perMinute(count(requests)),
    tokens && text.tokensPerMinute(count(tokens)),
    concurrency && text.atOnce(count(concurrency)),
    models && text.models(models.length),
    networks?.join(", "),
    expires && text.expires(day(expires)),
  ];
  return parts.filter(Boolean).join(", ") || "–";
}

export default function Keys() {
  const isMember = me.value?.role === "member";
  const isAdmin = me.value?.role === "admin";
  const read = useRead(isMember ? ["/admin/keys"] : ["/admin/keys", "/admin/projects"]);
  const [open, setOpen] = useMaybe();
  const close = () => setOpen(null);
  const projects = read.data?.[1]?.data ?? [];
  const own = (me.value?.projects ?? []).map((name) => projects.find((/** @type {any} */ project) => project.name === name) ?? { name });
  const mayCreate = isAdmin || isMember || own.length > 0;
  return html`
    <main id="main">
      <${Head} title=${words.nav.keys} text=${text.text}>
        ${mayCreate && html`<${Button} class="main" icon="plus" onClick=${() => setOpen({ create: true })}>${text.create}<//>`}
      <//>
      <${Loaded} read=${read} what=${words.nav.keys}>
        ${(/** @type {any} */ keys) => html`
          <${KeyTable} keys=${keys.data} mayCreate=${mayCreate} onOpen=${setOpen} />
          ${!isMember && html`<${Projects} projects=${projects} keys=${keys.data} onOpen=${setOpen} mayChange=${isAdmin} />`}`}
      <//>
      ${open?.create && html`<${CreateKey} projects=${isAdmin ? projects : own} onClose=${close} onMade=${read.reload} />`}
      ${open?.edit && html`<${KeyDialog} projects=${projects} existing=${open.edit} onClose=${close} onDone=${() => {
        close();
        toast(text.isChanged(open.edit.name));
        read.reload();
      }} />`}
      ${open?.revoke && html`<${Confirm} title=${text.revokeTitle(open.revoke.name)} text=${text.revokeText}
        submit=${text.revokeSubmit} submitting=${text.revoking} onClose=${close} act=${async () => {
          await call("DELETE", `/admin/keys/${encodeURIComponent(open.revoke.id)}`);
          if (tabKey.value?.id === open.revoke.id) tabKey.value = null;
          toast(text.isRevoked(open.revoke.name));
          await read.reload();
        }} />`}
      ${open?.members && html`<${MembersDialog} project=${open.members} onClose=${close} onDone=${read.reload} />`}
      ${open?.project && html`<${ProjectDialog} existing=${open.project.name ? open.project : null} onClose=${close} onDone=${read.reload} />`}
    </main>`;
}

/** @param {{ keys: any[], mayCreate: boolean, onOpen: (open: any) => void }} props */
function KeyTable({ keys, mayCreate, onOpen }) {
  if (keys.length === 0) {
    return html`
      <${EmptyCard} title=${text.emptyTitle} text=${text.emptyText}>
        ${mayCreate && html`<${Button} class="main small" onClick=${() => onOpen({ create: true })}>${text.create}<//>`}
      <//>`;
  }
  const search = query.value.get("find") ?? "";
  const project = query.value.get("project") ?? "";
  const revoked = query.value.get("state") === "revoked";
  const isRevoked = (/** @type {any} */ key) => key.revoked_at != null;
  const shown = keys.filter((key) => isRevoked(key) === revoked && (!project || key.project === project)
    && [key.name, key.tail, key.user, key.project].some((value) => value?.toLowerCase().includes(search.toLowerCase())));
  const nRevoked = keys.filter(isRevoked).length;
  const projects = [...new Set(keys.map((key) => key.project))].sort();
  return html`
    <div class="filters">
      <${Search} label=${text.find} value=${search} onInput=${(/** @type {string} */ value) => setQuery("find", value || null)} />
      <${Select} aria-label=${text.project} value=${project} onChange=${(/** @type {string} */ value) => setQuery("project", value || null)}
        choices=${[["", text.allProjects], ...projects.map((name) => [name, name])]} />
      <${Segments} label=${text.stateGroup} value=${revoked ? "revoked" : "used"} onChange=${(/** @type {string} */ value) => setQuery("state", value === "used" ? null : value)}
        choices=${[["used", text.inUse(keys.length - nRevoked)], ["revoked", text.revoked(nRevoked)]]} />
    </div>
    <section class="card"><div class="table-wrap"><table class="cards">
      <thead><tr>
        <th>${text.key}</th><th>${text.state}</th><th>${text.project}</th><th>${text.owner}</th><th>${text.spent}</th>
        <th>${text.limits}</th><th class="hide-narrow">${text.created}</th><th><span class="sr">${words.more}</span></th>
      </tr></thead>
      <tbody>
        ${shown.map((key) => html`<${KeyRow} key=${key.id} of=${key} onOpen=${onOpen} />`)}
        ${shown.length === 0 && html`<tr><td class="full muted" colspan="8">${text.noneFound}</td></tr>`}
      </tbody>
    </table></div></section>`;
}

/** @param {{ of: any, onOpen: (open: any) => void }} props */
function KeyRow({ of: key, onOpen }) {
  const mayChange = me.value?.role === "admin" || me.value?.keys?.includes(key.id);
  const [kind, state] = keyState(key);
  const share = key.budget == null ? 0 : Number(key.spent) / Number(key.budget);
  const actions = [
    { text: text.edit, act: () => onOpen({ edit: key }) },
    { text: text.revoke, bad: true, act: () => onOpen({ revoke: key }) },
  ];
  return html`
    <tr>
      <td><span class="medium name">${key.name}</span><span class="sub mono">sk-…${key.tail}</span></td>
      <td class="only-cell"><${State} kind=${kind}>${state}<//></td>
      <td data-label=${text.project}><span class="name">${key.project}</span></td>
      <td class="end-phone" data-label=${text.owner}><span class="name">${key.user ?? "–"}</span></td>
      <td class="full spent">
        <div class="row between"><span>${dollars(key.spent)}</span><span class="muted">${key.budget != null ? text.of(dollars(key.budget)) : !key.budgets?.length && text.noBudget}</span></div>
        ${key.budget != null && html`<${Meter} full share=${share} warn=${share > 0.9} />`}
        ${key.budgets?.map((/** @type {any} */ of) => of.amount && html`<span class="sub">${of.spent && dollars(of.spent)} ${text.of(dollars(of.amount))} / ${of.every ?? "∞"}</span>`)}
      </td>
      <td data-label=${text.limits} class="soft">${limitsText(key)}</td>
      <td data-label=${text.created} class="muted nowrap end-phone hide-narrow">${day(key.created_at)}</td>
      <td class="right more">${mayChange && !key.revoked_at && html`<${Menu} label=${words.moreFor(key.name)} actions=${actions} />`}</td>
    </tr>`;
}

/** @param {{ projects: any[], keys: any[], onOpen: (open: any) => void, mayChange: boolean }} props */
function Projects({ projects, keys, onOpen, mayChange }) {
  if (projects.length === 0 && keys.length === 0) return null;
  return html`
    <${Card} class="after" title=${text.projects} aside=${html`
      <span class="small muted hide-phone">${text.projectsText}</span>
      ${mayChange && html`<${Button} class="ghost small" icon="plus" onClick=${() => onOpen({ project: {} })}>${text.newProject}<//>`}`}>
      <div class="table-wrap"><table>
        <thead><tr>
          <th>${text.project}</th><th class="right">${text.keysOf}</th><th class="right">${text.spent}</th>
          <th class="right">${text.budget}</th><th class="hide-phone">${text.used}</th><th><span class="sr">${words.more}</span></th>
        </tr></thead>
        <tbody>
          ${projects.map((project) => {
            const share = project.budget == null ? 0 : Number(project.spent) / Number(project.budget);
            return html`
              <tr key=${project.name}>
                <td class="medium"><span class="name">${project.name}</span></td>
                <td class="right">${count(keys.filter((key) => key.project === project.name && !key.revoked_at).length)}</td>
                <td class="right">${dollars(project.spent)}</td>
                <td class=${`right ${project.budget == null ? "muted" : ""}`}>${project.budget == null ? words.none : dollars(project.budget)}</td>
                <td class="hide-phone">${project.budget != null && html`<${Meter} share=${share} warn=${share > 0.9} />`}</td>
                <td class="right">${mayChange && html`<${Menu} label=${words.moreFor(project.name)} actions=${[
                  { text: words.project.change, act: () => onOpen({ project }) },
                  { text: words.project.members, act: () => onOpen({ members: project }) },
                ]} />`}</td>
              </tr>`;
          })}
        </tbody>
      </table></div>
    <//>`;
}

/** @param {{ existing: any, onClose: () => void, onDone: () => void }} props */
function ProjectDialog({ existing, onClose, onDone }) {
  const [name, setName] = useState("");
  const [budget, setBudget] = useState(existing?.budget == null ? "" : String(Number(existing.budget)));
  const { busy, fault, run } = useSubmit();
  const submit = () => isNoBudget(budget) || (!existing && !name.trim()) || run(async () => {
    const amount = budget.trim() || null;
    if (existing) await call("PATCH", `/admin/projects/${encodeURIComponent(existing.name)}`, { budget: amount });
    else await call("POST", "/admin/projects", { name: name.trim(), budget: amount });
    toast(existing ? words.project.changed(existing.name) : words.project.made(name.trim()));
    onClose();
    onDone();
  });
  return html`
    <${Dialog} title=${existing ? words.project.editTitle(existing.name) : words.project.title} onClose=${onClose} onSubmit=${submit}
      submit=${{ busy, text: existing ? words.project.save : words.project.submit, busyText: existing ? words.project.saving : words.project.submitting }}>
      ${!existing && html`<${TextField} label=${words.project.name} value=${name} onInput=${setName} autofocus autocomplete="off"
        error=${fault?.param === "name" ? faultText(fault) : null} />`}
      <${BudgetField} value=${budget} onInput=${setBudget} />
      <${FormFault} text=${fault && fault.param !== "name" && faultText(fault)} />
    <//>`;
}

/** Who may make keys in a project. @param {{ project: any, onClose: () => void, onDone: () => void }} props */
function MembersDialog({ project, onClose, onDone }) {
  const [users, setUsers] = useState(/** @type {string[] | null} */ (null));
  const [members, setMembers] = useState(/** @type {string[]} */ (project.members ?? []));
  const { busy, fault, run, setFault } = useSubmit();
  useEffect(() => {
    call("GET", "/admin/users").then(({ data }) => setUsers(data.map((/** @type {any} */ user) => user.name)), setFault);
  }, []);
  const choose = (/** @type {string} */ name, /** @type {boolean} */ chosen) =>
    setMembers((/** @type {string[]} */ before) => (chosen ? [...before, name] : before.filter((other) => other !== name)));
  const submit = () => run(async () => {
    await call("PUT", `/admin/projects/${encodeURIComponent(project.name)}/members`, { users: members });
    toast(words.project.membersChanged(project.name));
    onClose();
    onDone();
  });
  return html`
    <${Dialog} title=${words.project.membersTitle(project.name)} onClose=${onClose} onSubmit=${submit}
      submit=${{ busy, disabled: !users?.length, text: words.project.saveMembers, busyText: words.project.savingMembers }}>
      <p class="soft">${words.project.membersText}</p>
      ${users?.length === 0 && html`<p class="small">${words.project.noUsers}<a href=${href("users")}>${words.nav.users}</a>.</p>`}
      <div class="stack-2" role="group" aria-label=${words.project.members}>
        ${users?.map((/** @type {string} */ name) => html`
          <label class="check" key=${name}><input type="checkbox" checked=${members.includes(name)}
            onChange=${(/** @type {any} */ event) => choose(name, event.target.checked)} /><span class="name">${name}</span></label>`)}
      </div>
      <${FormFault} text=${fault && faultText(fault)} />
    <//>`;
}
