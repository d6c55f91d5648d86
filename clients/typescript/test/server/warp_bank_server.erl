%% A server for the client's tests: the context "bank", or the "flights" of the demo with that in WARP_CONTEXT, in a
%% fresh folder or in WARP_DIR, on a port that the system chooses or on WARP_PORT. A gateway that is silent for
%% WARP_SILENT_MS is killed.
%%
%% When it listens it prints its port, its process and its tokens as a line of JSON. For each line of its input it
%% prints the process of its gateway. It ends when its input ends.
-module(warp_bank_server).
-behaviour(warp_server).

-export([main/0, context/1, pay/2, refuse/2]).

-define(TOKEN, <<"warp_for_tests">>).
-define(READER, <<"warp_for_readers">>).

main() ->
    Dir = case os:getenv("WARP_DIR") of false -> string:trim(os:cmd("mktemp -d")); Given -> Given end,
    Name = list_to_binary(os:getenv("WARP_CONTEXT", "bank")),
    {ok, Server} = warp_server:start_link(#{
        contexts => [#{name => Name, data_dir => Dir, module => ?MODULE}],
        listeners => [#{port => list_to_integer(os:getenv("WARP_PORT", "0"))}],
        gateway => #{ping_ms => 500, silent_ms => list_to_integer(os:getenv("WARP_SILENT_MS", "10000"))},
        origins => [list_to_binary(Origin) || Origin <- string:lexemes(os:getenv("WARP_ORIGINS", ""), " ")],
        tokens => [#{id => <<"tests">>, sha256 => sha256(?TOKEN), scopes => [#{context => Name}]},
                   #{id => <<"reader">>, sha256 => sha256(?READER),
                     scopes => [#{context => Name, operations => [read]}]}]}),
    [{_, Port}] = warp_server:addresses(Server),
    io:format("{\"port\":~b,\"vm\":~ts,\"token\":\"~ts\",\"reader\":\"~ts\"}~n",
              [Port, os:getpid(), ?TOKEN, ?READER]),
    ok = commands(Server),
    ok = warp_server:stop(Server),
    _ = [file:del_dir_r(Dir) || os:getenv("WARP_DIR") =:= false],
    halt(0).

sha256(Token) -> binary:encode_hex(crypto:hash(sha256, Token)).

commands(Server) ->
    case io:get_line("") of
        eof ->
            ok;
        _ ->
            io:format("{\"gateway\":~ts}~n", [gateway(warp_server_sup:link(Server))]),
            commands(Server)
    end.

%% The process of the gateway, or null while there is none.
gateway(none) -> "null";
gateway(Link) ->
    case process_info(Link, links) of
        {links, Links} ->
            case [Process || Port <- Links, is_port(Port), {os_pid, Process} <- [erlang:port_info(Port, os_pid)]] of
                [Process] -> integer_to_list(Process);
                [] -> "null"
            end;
        undefined ->
            "null"
    end.

context(<<"bank">>) ->
    #{shards => 4,
      projections => {embedded, #{tables => #{accounts => #{columns => #{balance => integer}}}}},
      aggregates => [#{name => <<"Account">>, initial_state => #{balance => 0}, apply => fun apply_to/2,
                       validate => fun validate/2, project => fun project/3},
                     #{name => <<"Raw">>, initial_state => {no, json}}],
      commands => #{<<"pay">> => {<<"Account">>, fun ?MODULE:pay/2},
                    <<"refuse">> => {<<"Account">>, fun ?MODULE:refuse/2}}};
context(<<"flights">>) ->
    #{shards => 4, projections => embedded, aggregates => [warp_demo_flights:aggregate()]}.

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

