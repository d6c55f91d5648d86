#!/usr/bin/env escript
%%! -kernel logger_level error
%% Evaluates blocks as an Erlang shell does, one after the other, with the bindings of those before.
%% Reads names of files from standard input. Prints what a block prints; "=== value LINE", its value
%% as the shell shows it, and "===" for each expression that ends in LINE; and "=== end" with "ok" or
%% what went wrong. A block that begins with -module is compiled and loaded.
-mode(compile).

main(_) ->
    ok = io:setopts([{encoding, unicode}]),
    loop(erl_eval:new_bindings()).

loop(Bindings) ->
    case io:get_line("") of
        eof ->
            ok;
        Line ->
            {ok, Text} = file:read_file(string:trim(Line)),
            {Outcome, Next} = block(unicode:characters_to_list(Text), Bindings),
            io:format("~n=== end ~ts~n", [Outcome]),
            loop(Next)
    end.

block(Text, Bindings) ->
    case erl_scan:string(Text, 1) of
        {ok, [{'-', _}, {atom, _, module} | _] = Tokens, _} -> {load(forms(Tokens, [], [])), Bindings};
        {ok, Tokens, _} -> expressions(forms(Tokens, [], []), Bindings);
        {error, {At, Module, Why}, _} -> {["line ", show(At), ": ", Module:format_error(Why)], Bindings}
    end.

forms([], [], Forms) -> lists:reverse(Forms);
forms([], Open, Forms) -> lists:reverse([{open, Open} | Forms]);
forms([{dot, _} = Dot | Rest], Open, Forms) -> forms(Rest, [], [lists:reverse([Dot | Open]) | Forms]);
forms([Token | Rest], Open, Forms) -> forms(Rest, [Token | Open], Forms).

load(Forms) ->
    Parsed = [element(2, {ok, _} = erl_parse:parse_form(Form)) || Form <- Forms],
    case compile:forms(Parsed, [return, report_errors]) of
        {ok, Module, Code, _Warnings} ->
            {module, Module} = code:load_binary(Module, "document", Code),
            "ok";
        {error, Errors, _} ->
            show(Errors)
    end.

expressions([], Bindings) ->
    {"ok", Bindings};
expressions([{open, _} | _], Bindings) ->
    {"the last expression has no full stop", Bindings};
expressions([Tokens | Rest], Bindings) ->
    Line = integer_to_list(erl_scan:line(lists:last(Tokens))),
    case erl_parse:parse_exprs(Tokens) of
        {ok, Parsed} ->
            try erl_eval:exprs(Parsed, Bindings, none, none) of
                {value, Value, Next} ->
                    value(Line, pretty(Value)),
                    expressions(Rest, Next)
            catch
                Class:Reason:Stack ->
                    value(Line, ["** ", erl_error:format_exception(Class, Reason, Stack)]),
                    {Outcome, Next} = expressions(Rest, Bindings),
                    {["raised ", Line, " ", Outcome], Next}
            end;
        {error, {At, Module, Why}} ->
            {["line ", show(At), ": ", Module:format_error(Why)], Bindings}
    end.

value(Line, Text) ->
    io:format("~n=== value ~ts~n~ts~n===~n", [Line, Text]).

%% As the shell prints a value: in lines of 80 columns, strings as strings. Keys of maps are sorted, which the shell
%% does up to OTP 25 only.
pretty(Value) ->
    Format = case list_to_integer(erlang:system_info(otp_release)) of
        Release when Release >= 26 -> "~tkp";
        _ -> "~tp"
    end,
    io_lib:format(Format, [Value]).

show(Term) -> io_lib:format("~tp", [Term]).
