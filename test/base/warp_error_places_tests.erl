%% The reasons stand in more than one place: in the catalogue of warp_error, in docs/errors.md, and as variants of
%% Gleam's warp/error. None of these has a reason that the catalogue lacks, or lacks one that it has.
-module(warp_error_places_tests).
-include_lib("eunit/include/eunit.hrl").

%% Why a read of a file came to nothing says more than a failed match.
read(Path) ->
    File = filename:join([warp_fault_vm:root() | Path]),
    case file:read_file(File) of
        {ok, Text} -> Text;
        {error, Why} -> error({File, Why})
    end.

catalogue() -> lists:usort([kind(Shape) || #{reason := Shape} <- warp_error:catalogue()]).

%% `{shard_unavailable, 2}' of `{shard_unavailable, N}', and `{overloaded, 0}' of an atom.
kind(Text) ->
    case term(Text) of
        Atom when is_atom(Atom) -> {Atom, 0};
        Tuple -> {element(1, Tuple), tuple_size(Tuple)}
    end.

%% A shape with an example in place of each variable.
term(Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text) ++ "."),
    {ok, Term} = erl_parse:parse_term(lists:flatmap(fun token/1, Tokens)),
    Term.

token({var, _, Name}) ->
    {ok, Tokens, _} = erl_scan:string(example(Name)),
    Tokens;
token({':=', Line}) -> [{'=>', Line}];
token(Token) -> [Token].

example(Name) when Name =:= 'Crash' -> "{error, badarg, []}";
example('Details') -> "#{'fun' => <<\"fun bank:apply/2\">>}";
example(Name) when Name =:= 'Mfa'; Name =:= 'MFA' -> "{bank, debit, 2}";
example('Reason') -> "no_projections";
example('Why') -> "not_utf8";
example('Tables') -> "[<<\"accounts\">>]";
example('Field') -> "payload";
example(Name) when Name =:= 'N'; Name =:= 'Max'; Name =:= 'Seq'; Name =:= 'Step' -> "7";
example(_Name) -> "<<\"text\">>".

%% ------------------------------------------------------------------ docs/errors.md

the_page_has_each_reason_once_test() ->
    Rows = [Row || <<"| `", Row/binary>> <- binary:split(read(["docs", "errors.md"]), <<"\n">>, [global])],
    Cells = [[Shape || [Shape] <- [string:split(Row, "`")]] ++ string:split(Row, "|", all) || Row <- Rows],
    [?assertEqual({Row, 4}, {Row, length(Each)}) || {Row, Each} <- lists:zip(Rows, Cells)],
    Listed = lists:sort([kind(hd(string:split(Row, "`"))) || Row <- Rows]),
    ?assertEqual([], Listed -- lists:usort(Listed)),
    ?assertEqual({missing, []}, {missing, catalogue() -- Listed}),
    ?assertEqual({too_many, []}, {too_many, Listed -- catalogue()}).

%% ------------------------------------------------------------------ Gleam

%% The module that makes Gleam's variants of reasons, as it stands in the package.
ffi() ->
    {ok, Module, Code} = compile:file(
        filename:join([warp_fault_vm:root(), "gleam", "src", "warp_error_ffi.erl"]), [binary, return_errors]),
    {module, Module} = code:load_binary(Module, "warp_error_ffi.erl", Code),
    Module.

each_reason_has_a_variant_of_its_own_test() ->
    Ffi = ffi(),
    Variants = variants(),
    Given = [{Shape, Ffi:reason(term(Shape))} || #{reason := Shape} <- warp_error:catalogue()],
    Kinds = [{Shape, case Variant of
                         Atom when is_atom(Atom) -> {Atom, 0};
                         Tuple -> {element(1, Tuple), tuple_size(Tuple) - 1}
                     end} || {Shape, Variant} <- Given],
    ?assertEqual({without_a_variant, []}, {without_a_variant, [Shape || {Shape, {unknown, _}} <- Given]}),
    ?assertEqual({no_such_variant, []},
                 {no_such_variant, [Each || {_, Kind} = Each <- Kinds, not lists:member(Kind, Variants)]}),
    Names = [Kind || {_, Kind} <- Kinds],
    ?assertEqual({shared, []}, {shared, Names -- lists:usort(Names)}),
    %% These come from the package itself, or are a form of another reason that is told apart there.
    Own = [{application_not_started, 1}, {bad_aggregate, 3}, {duplicate_aggregate, 1}, {encode_failed, 1}, {refused, 1},
           {undecodable_arguments, 1}, {undecodable_event, 2}, {undecodable_state, 1}, {unknown, 1}],
    ?assertEqual({without_a_reason, []}, {without_a_reason, (Variants -- Names) -- Own}).

%% The variants of the type `Error', as the compiler names them in Erlang, with how many fields they have.
variants() ->
    [_, Rest] = string:split(read(["gleam", "src", "warp", "error.gleam"]), "pub type Error(reason) {"),
    [Type, _] = string:split(Rest, "\n}\n"),
    Lines = [Line || Line <- binary:split(Type, <<"\n">>, [global]), not is_comment(Line)],
    {match, Found} = re:run(lists:join("\n", Lines), "^  ([A-Z][A-Za-z]*)(?:\\(((?:[^()]|\\([^()]*\\))*)\\))?",
                            [global, multiline, {capture, [1, 2], binary}]),
    [{snake(Name), length(string:lexemes(without_parameters(Fields), ","))} || [Name, Fields] <- Found].

is_comment(Line) -> match =:= re:run(Line, "^ *//", [{capture, none}]).

without_parameters(Fields) -> re:replace(Fields, "\\([^()]*\\)", "", [global, {return, binary}]).

snake(Name) ->
    Snake = re:replace(Name, "(?<!^)([A-Z])", "_\\1", [global, {return, list}]),
    list_to_atom(string:lowercase(Snake)).
