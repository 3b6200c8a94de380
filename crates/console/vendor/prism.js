// The tokenizer of Prism and its grammars of ten languages; SQL and what is written like C have small ones: it returns tokens, and touches no document.
import "./prism_manual.js";
import Prism from "prismjs/components/prism-core.js";
import "prismjs/components/prism-markup.js";
import "prismjs/components/prism-css.js";
import "prismjs/components/prism-clike.js";
import "prismjs/components/prism-javascript.js";
import "prismjs/components/prism-typescript.js";
import "prismjs/components/prism-bash.js";
import "prismjs/components/prism-python.js";
import "prismjs/components/prism-json.js";
import "prismjs/components/prism-rust.js";
import "prismjs/components/prism-yaml.js";

/** A grammar of words. @param {string} words */
const keywords = (words, flags = "") => new RegExp(`\\b(?:${words.replaceAll(" ", "|")})\\b`, flags);

// Languages whose code reads like C: one grammar with the keywords of all of them.
const likeC = Prism.languages.extend("clike", {
  keyword: keywords("as async auto await bool break case catch char class const continue default defer delete do double else enum extends extern final finally float fn for foreach func fun goto if impl implements import in int interface let long match mod mut namespace new package private protected pub public return short signed sizeof static string struct super switch template this throw throws trait try type typedef union unsigned use using val var virtual void volatile when where while yield"),
});
const LIKE_C = new Set(["c", "cpp", "c++", "cs", "csharp", "dart", "go", "java", "kotlin", "php", "scala", "swift"]);

const sql = {
  comment: /--.*|\/\*[\s\S]*?(?:\*\/|$)/,
  string: /'(?:''|[^'])*'|"(?:""|[^"])*"/,
  keyword: keywords("add all alter and as asc begin between by case check column commit constraint create cross database default delete desc distinct drop else end exists explain foreign from full group having if in index inner insert into is join key left like limit not offset on or order outer over partition primary references returning right rollback select set table then transaction union unique update using values view when where with", "i"),
  boolean: /\b(?:true|false|null)\b/i,
  number: /\b\d+(?:\.\d+)?\b/,
};

/** @param {string} code @param {string} language */
export const tokenize = (code, language) => {
  const grammar = LIKE_C.has(language) ? likeC : language === "sql" ? sql : Object.hasOwn(Prism.languages, language) ? Prism.languages[language] : undefined;
  return typeof grammar === "object" ? Prism.tokenize(code, grammar) : [code];
};
