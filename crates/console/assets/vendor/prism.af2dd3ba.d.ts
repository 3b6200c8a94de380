export type Token = string | { type: string, content: string | Token | Token[] };
export declare const tokenize: (code: string, language: string) => Token[];
