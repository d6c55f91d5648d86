%% A server for the client's tests: the context "bank" in a fresh folder, on a port that the system chooses.
%%
%% When it listens it prints its port and tokens as a line of JSON. It takes lines from its input: `kill' kills the
%% gateway, which is started again on the same port. It ends when its input ends.
-module(warp_bank_server).
-behaviour(warp_server).

-export([main/0, context/1, pay/2, refuse/2]).

-define(TOKEN, <<"warp_for_tests">>).
-define(READER, <<"warp_for_readers">>).

main() ->
    Dir = string:trim(os:cmd("mktemp -d")),
    {ok, Server} = warp_server:start_link(#{
        contexts => [#{name => <<"bank">>, data_dir => Dir, module => ?MODULE}],
        listeners => [#{port => 0}],
        origins => [list_to_binary(Origin) || Origin <- string:lexemes(os:getenv("WARP_ORIGINS", ""), " ")],
        tokens => [#{id => <<"tests">>, sha256 => sha256(?TOKEN), scopes => [#{context => <<"bank">>}]},
                   #{id => <<"reader">>, sha256 => sha256(?READER),
                     scopes => [#{context => <<"bank">>, operations => [read]}]}]}),
    [{_, Port}] = warp_server:addresses(Server),
    io:format("{\"port\":~b,\"token\":\"~ts\",\"reader\":\"~ts\"}~n", [Port, ?TOKEN, ?READER]),
    ok = commands(Server),
    ok = warp_server:stop(Server),
    _ = file:del_dir_r(Dir),
    halt(0).

sha256(Token) -> binary:encode_hex(crypto:hash(sha256, Token)).

commands(Server) ->
    case io:get_line("") of
        "kill\n" ->
            %% It may be about to start again.
            Links = case warp_server_sup:link(Server) of none -> undefined; Link -> process_info(Link, links) end,
            [_ = os:cmd("kill -9 " ++ integer_to_list(Pid))
             || {links, All} <- [Links], Gateway <- All, is_port(Gateway),
                {os_pid, Pid} <- [erlang:port_info(Gateway, os_pid)]],
            commands(Server);
        eof -> ok;
        _ -> commands(Server)
    end.

context(<<"bank">>) ->
    #{shards => 4,
      projections => embedded,
      aggregates => [#{name => <<"Account">>, initial_state => #{balance => 0}, apply => fun apply_to/2,
                       validate => fun validate/2, project => fun project/3},
                     #{name => <<"Raw">>, initial_state => {no, json}}],
      commands => #{<<"pay">> => {<<"Account">>, fun ?MODULE:pay/2},
                    <<"refuse">> => {<<"Account">>, fun ?MODULE:refuse/2}}}.

apply_to(#{balance := Sum}, #{type := <<"Credited">>, payload := #{<<"amount">> := N}}) -> #{balance => Sum + N};
apply_to(#{balance := Sum}, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) -> #{balance => Sum - N};
apply_to(State, _) -> State.

validate(#{balance := Balance}, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) when N > Balance ->
    {error, <<"the balance is too low">>};
validate(_, _) ->
    ok.

project(Id, #{balance := Balance}, _) when Balance < 1 bsl 62 ->
    [warp_projection:upsert(accounts, Id, #{balance => Balance})];
project(_, _, _) ->
    [].

pay(#{balance := Balance}, #{<<"amount">> := N}) when N =< Balance ->
    {ok, [#{type => <<"Debited">>, payload => #{amount => N}, aggregate => <<"Account">>}]};
pay(_, _) ->
    {error, <<"the balance is too low">>}.

refuse(_, Input) -> {error, Input}.

