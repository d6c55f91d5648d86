%% A VM with a subscription with a name, and a policy, to be killed at any moment. It says which events it got, and up
%% to which it has acknowledged them on disk.
-module(warp_subscription_load).

-export([policy/0, kill/1]).
%% Inside the VM
-export([main/0, react/1]).

main() ->
    {Ctx, _Round} = warp_load_vm:open(),
    _ = spawn_link(fun() -> append(warp_core:entity(Ctx, <<"counted">>)) end),
    Options = #{name => <<"mail">>, prefix => <<"counted">>, from => beginning, credit => 50},
    {ok, Sub} = warp_subscription:subscribe(Ctx, Options),
    consume(Sub).

%% Each event of the one entity is counted in the other.
policy() ->
    warp_subscription:policy(<<"tally">>, #{prefix => <<"counted">>, from => beginning}, fun ?MODULE:react/1).

react(#{seq := Seq}) ->
    [{append, <<"tally">>, #{type => <<"Moved">>, payload => #{weight => Seq, text => <<"y">>}}}].

append(Entity) ->
    {ok, _} = warp_core:append(Entity, #{type => <<"Moved">>, payload => #{weight => 1, text => <<"x">>}}),
    timer:sleep(1),
    append(Entity).

consume(Sub) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            [say({got, place(Event)}) || Event <- Events],
            [ok = warp_subscription:ack(Sub, Event) || Event <- Events],
            {ok, _} = warp_subscription:cursor(Sub),
            say({stored, place(lists:last(Events))}),
            consume(Sub);
        {warp_subscription, Sub, _} ->
            consume(Sub)
    end.

place(#{position := Position, seq := Seq}) -> {Position, Seq}.

say(Term) -> io:format("~0p.~n", [Term]).

%% Kills the VM. Gives what it has said.
kill(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    terms(said(Port, <<>>)).

said(Port, Said) ->
    receive
        {Port, {data, Text}} -> said(Port, <<Said/binary, Text/binary>>);
        {Port, {exit_status, 137}} -> Said
    after 30000 -> error(still_alive)
    end.

%% The last line may be cut off.
terms(Said) ->
    Lines = lists:droplast(binary:split(Said, <<"\n">>, [global])),
    [begin
         {ok, Tokens, _} = erl_scan:string(binary_to_list(Line)),
         {ok, Term} = erl_parse:parse_term(Tokens),
         Term
     end || <<"{", _/binary>> = Line <- Lines].
