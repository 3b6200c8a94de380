// The lexer of marked alone: it returns tokens, and makes no HTML.
import { _Lexer as Lexer } from "marked/Lexer.ts";

/** @param {string} text */
export const lex = (text) => new Lexer({ gfm: true }).lex(text);
