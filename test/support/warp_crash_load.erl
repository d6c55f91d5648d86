%% The load that runs in a VM which is killed at any moment. What it is about to
%% do is in a side file before it does it, and each answer after it has it.
-module(warp_crash_load).

-export([main/0, args/2]).
-export([aggregate/0, run/2, payload/3, ops/2, side_file/3, write/2, read_side_files/2]).

-define(SHARED, 4).

%% The flags of `erl` that run this load.
args(Round, Opts) ->
    Text = base64:encode_to_string(term_to_binary({Round, Opts})),
    ["-noshell", "-noinput", "-boot", "start_clean", "-s", ?MODULE_STRING, "main", "-extra", Text].

main() ->
    [Text] = init:get_plain_arguments(),
    {Round, #{side_dir := SideDir, callers := Callers} = Opts} =
        binary_to_term(base64:decode(Text)),
    case warp_core:start(maps:without([side_dir, callers], Opts#{aggregates => [aggregate()]})) of
        {ok, Ctx} ->
            [spawn_link(fun() -> caller(Ctx, SideDir, Round, N) end)
             || N <- lists:seq(1, Callers)],
            io:format("ready~n");
        {error, Reason} ->
            io:format("failed ~0p~n", [Reason]),
            halt(1)
    end.

aggregate() ->
    #{name => <<"Load">>, initial_state => 0, apply => fun(Count, _Event) -> Count + 1 end}.

caller(Ctx, SideDir, Round, Caller) ->
    {ok, File} = file:open(side_file(SideDir, Round, Caller), [raw, append]),
    loop(Ctx, File, {Round, Caller}, 1).

loop(Ctx, File, By, N) ->
    lists:foreach(
      fun({I, Op}) ->
              Call = {N, I},
              write(File, {trying, Call, Op}),
              write(File, {answered, Call, run(Ctx, Op)})
      end, lists:enumerate(ops(By, N))),
    timer:sleep(rand:uniform(4) - 1),
    loop(Ctx, File, By, N + 1).

%% Shared entities take appends of all callers. An entity of its own takes a
%% caller's appends and deletes; and now and then one comes and goes at once.
ops({Round, Caller} = By, N) ->
    Own = name("own", [Caller]),
    case rand:uniform(60) of
        1 ->
            [{delete, Own}];
        2 ->
            Gone = <<(name("gone", [Round, Caller, N]))/binary, "!">>,
            [append(Gone, By, N, 1 + rand:uniform(3)), {delete, Gone}];
        Dice when Dice =< 15 ->
            [append(Own, By, N, size_of_call())];
        _ ->
            [append(name("shared", [rand:uniform(?SHARED)]), By, N, size_of_call())]
    end.

append(Entity, {Round, Caller}, N, Size) ->
    With = lists:nth(rand:uniform(2), [ids, no_ids]),
    {append, Entity, name("call", [Round, Caller, N]), Size, With}.

size_of_call() ->
    case rand:uniform(20) of
        1 -> 50 + rand:uniform(200);
        Dice when Dice < 6 -> rand:uniform(10);
        _ -> 1
    end.

run(Ctx, {delete, Entity}) ->
    warp_core:delete(warp_core:entity(Ctx, Entity));
run(Ctx, {append, Entity, Call, 1, With}) ->
    case warp_core:append(warp_core:entity(Ctx, Entity), event(Call, 1, 1, With)) of
        {ok, Seq} -> {ok, {Seq, Seq}};
        Error -> Error
    end;
run(Ctx, {append, Entity, Call, Size, With}) ->
    warp_core:append_batch(warp_core:entity(Ctx, Entity),
                           [event(Call, I, Size, With) || I <- lists:seq(1, Size)]).

event(Call, I, Size, With) ->
    Event = #{aggregate => <<"Load">>, type => <<"Loaded">>, payload => payload(Call, I, Size)},
    case With of
        ids -> Event#{id => <<Call/binary, "/", (integer_to_binary(I))/binary>>};
        no_ids -> Event
    end.

%% Tells of which call it is, at what place, and out of how many.
payload(Call, I, Size) ->
    #{<<"call">> => Call, <<"at">> => I, <<"of">> => Size,
      <<"pad">> => binary:copy(<<"x">>, erlang:phash2({Call, I}, 200))}.

name(Kind, Numbers) ->
    iolist_to_binary(lists:join("-", [Kind | [integer_to_list(N) || N <- Numbers]])).

%% ---------------------------------------------------------------- Side files

side_file(Dir, Round, Caller) ->
    filename:join(Dir, lists:concat([Round, "-", Caller])).

%% One write call: with a raw file it is in the operating system when it returns.
write(File, Term) ->
    Bytes = term_to_binary(Term),
    ok = file:write(File, [<<(byte_size(Bytes)):32>>, Bytes]).

%% Of each caller of the round: what it did, in order, as
%% `{Op, Answer}`, the last one perhaps with `unanswered`.
read_side_files(Dir, Round) ->
    [calls(read_terms(File)) || File <- filelib:wildcard(side_file(Dir, Round, "*"))].

calls([{trying, Call, Op}, {answered, Call, Answer} | Rest]) -> [{Op, Answer} | calls(Rest)];
calls([{trying, _, Op}]) -> [{Op, unanswered}];
calls([]) -> [].

read_terms(File) ->
    {ok, Bytes} = file:read_file(File),
    terms(Bytes).

%% A last one that was cut off was not written yet.
terms(<<Size:32, Bytes:Size/binary, Rest/binary>>) -> [binary_to_term(Bytes) | terms(Rest)];
terms(_) -> [].
