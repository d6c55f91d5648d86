-module(warp_call_tests).
-include_lib("eunit/include/eunit.hrl").

-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2]).

%% A real gen_server, which does as it is told.

init(State) -> {ok, State}.

handle_call({echo, Term}, _From, State) ->
    {reply, Term, State};
handle_call({sleep, Millis}, _From, State) ->
    ok = timer:sleep(Millis),
    {reply, slept, State};
handle_call({die, Reason}, _From, State) ->
    {stop, Reason, State};
handle_call({answer_and_die, Term}, From, State) ->
    gen_server:reply(From, Term),
    {stop, normal, State};
handle_call(look, _From, State) ->
    {reply, {warp_call:next_request(wanted), warp_call:next_cast(#{this => [], that => []})}, State};
handle_call(_Other, _From, State) ->
    {noreply, State}.

handle_cast({wait_for, Ref}, State) ->
    receive Ref -> {noreply, State} end;
handle_cast(_Other, State) ->
    {noreply, State}.

server() ->
    {ok, Pid} = gen_server:start(?MODULE, none, []),
    Pid.

quietly(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    try Fun() after ok = logger:set_primary_config(level, Level) end.

a_call_is_answered_test() ->
    ?assertEqual(hello, warp_call:call(server(), {echo, hello}, warp_deadline:from(5000))),
    ?assertEqual({error, other}, warp_call:call(server(), {echo, {error, other}}, infinity)).

a_call_ends_at_the_deadline_test() ->
    {Micros, Result} = timer:tc(fun() -> warp_call:call(server(), {sleep, 2000}, warp_deadline:from(50)) end),
    ?assertEqual({error, timeout}, Result),
    ?assert(Micros < 1000000),
    ?assertEqual({error, timeout}, warp_call:call(server(), {sleep, 100}, warp_deadline:from(0))).

a_process_that_ends_interrupts_test() ->
    quietly(fun() ->
        Gone = server(),
        ?assertEqual({error, interrupted}, warp_call:call(Gone, {die, normal}, infinity)),
        ?assertEqual({error, interrupted}, warp_call:call(Gone, {echo, 1}, infinity)),
        ?assertEqual({error, interrupted}, warp_call:call(server(), {die, a_bug}, infinity))
    end).

a_request_is_answered_without_a_monitor_test() ->
    Request = warp_call:send(server(), {echo, hello}),
    ?assertEqual({answer, hello}, warp_call:await(Request, 5000)),
    ?assertEqual([], mailbox()).

a_slow_answer_is_watched_for_test() ->
    Pid = server(),
    Request = warp_call:send(Pid, {sleep, 60}),
    ?assertEqual(none, warp_call:await(Request, 1)),
    ?assertEqual({answer, slept}, warp_call:watch(Request, Pid, 5000)),
    ?assertEqual([], mailbox()).

%% What comes after a timeout comes to nobody.
a_late_answer_is_dropped_test() ->
    Pid = server(),
    Request = warp_call:send(Pid, {sleep, 50}),
    ?assertEqual(timeout, warp_call:watch(Request, Pid, 1)),
    ?assertEqual(alive, warp_call:call(Pid, {echo, alive}, infinity)),
    ?assertEqual([], mailbox()).

the_end_of_the_process_is_noticed_test() ->
    quietly(fun() ->
        Pid = server(),
        Request = warp_call:send(Pid, {die, normal}),
        ?assertEqual(down, warp_call:watch(Request, Pid, infinity)),
        ?assertEqual(down, warp_call:watch(warp_call:send(Pid, any), Pid, infinity)),
        ?assertEqual([], mailbox())
    end).

%% Whichever of both messages the caller sees first.
an_answer_before_the_end_counts_test() ->
    Each = [begin
                Pid = server(),
                Request = warp_call:send(Pid, {answer_and_die, N}),
                _ = N rem 2 =:= 0 andalso receive after 1 -> ok end,
                warp_call:watch(Request, Pid, infinity)
            end || N <- lists:seq(1, 50)],
    ?assertEqual([{answer, N} || N <- lists:seq(1, 50)], Each),
    ?assertEqual([], mailbox()).

%% An answer to an alias is taken in any order, and what is given up leaves neither the answers that have come nor
%% those to come.
answers_are_taken_by_alias_test() ->
    [A, B, C, D] = Aliases = [warp_call:alias() || _ <- lists:seq(1, 4)],
    [ok = warp_call:answer(Alias, N) || {Alias, N} <- lists:zip(Aliases, [a, b, c, d]), N =/= d],
    Requests = maps:from_list([{Alias, x} || Alias <- [B, C, D]]),
    ?assertEqual({B, b}, warp_call:await_any(Requests, 0)),
    ok = warp_call:answer(B, again),
    ok = warp_call:give_up(maps:remove(B, Requests)),
    ok = warp_call:answer(D, late),
    ?assertEqual([{[alias | A], a}], mailbox()),
    ?assertEqual({A, a}, warp_call:answered(receive Message -> Message end)),
    ?assertEqual(none, warp_call:await_any(#{A => x}, 1)),
    ?assertEqual([none, none, none], [warp_call:answered(Term) || Term <- [hello, {[alias], 1}, {[alias | x], 1}]]),
    ?assertEqual([], mailbox()).

%% A server looks for requests and casts in its own mailbox, and leaves all others there.
the_mailbox_is_searched_by_kind_test() ->
    Pid = server(),
    Ref = make_ref(),
    ok = gen_server:cast(Pid, {wait_for, Ref}),
    Look = warp_call:send(Pid, look),
    Wanted = warp_call:send(Pid, {wanted, 7}),
    ok = gen_server:cast(Pid, {other, 1}),
    ok = gen_server:cast(Pid, atom),
    ok = gen_server:cast(Pid, {that, 2}),
    Pid ! Ref,
    {answer, {{From, {wanted, 7}}, {cast, {that, 2}}}} = warp_call:await(Look, 5000),
    gen_server:reply(From, seven),
    ?assertEqual({answer, seven}, warp_call:await(Wanted, 5000)),
    ?assertEqual({none, none}, warp_call:call(Pid, look, infinity)).

mailbox() ->
    {messages, Messages} = process_info(self(), messages),
    Messages.
