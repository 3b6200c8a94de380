export declare const lex: (text: string) => import("marked").Token[];
