-module(warp_stray_tests).

-include_lib("eunit/include/eunit.hrl").

-export([log/2]).

shape_test_() ->
    [?_assertEqual(Expected, unicode:characters_to_list(warp_stray:shape(Term)))
     || {Expected, Term} <-
            [{"tick", tick},
             {"integer", 4111111111111111},
             {"float", 1.5},
             {"binary of 6 bytes", <<"secret">>},
             {"bitstring", <<1:3>>},
             {"list", "secret"},
             {"[]", []},
             {"map of 1 keys", #{<<"secret">> => secret}},
             {"function", fun() -> secret end},
             {"{}", {}},
             {"{ssl_closed, {a, tuple of 1 elements}}", {ssl_closed, {a, {b}}}},
             {"{pid, reference}", {self(), make_ref()}},
             {"{a, a, a, a, a, a, ...}", erlang:make_tuple(1000, a)}]].

%% However much comes, a process says it once.
note_test_() ->
    {timeout, 20, fun() ->
        ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}}),
        try
            Noted = fun() ->
                [ok = warp_stray:note(some_process, Kind, {secret, <<"4111-1111">>})
                 || Kind <- [message, cast, call], _ <- lists:seq(1, 1000)]
            end,
            Pids = [element(1, spawn_monitor(Noted)) || _ <- [1, 2]],
            _ = [receive {'DOWN', _, process, Pid, Reason} -> normal = Reason end || Pid <- Pids],
            [_, _] = Texts = logged(),
            [?assertMatch({match, _}, re:run(Text, "some_process.*{secret, binary of 9 bytes}"))
             || Text <- Texts],
            [?assertEqual(nomatch, string:find(Text, "4111")) || Text <- Texts]
        after
            ok = logger:remove_handler(?MODULE)
        end
    end}.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 0 -> [] end.

log(#{level := warning, msg := {Format, Args}}, #{config := #{to := To}}) ->
    To ! {logged, unicode:characters_to_list(io_lib:format(Format, Args))};
log(_Event, _Config) ->
    ok.
