%% @private What the server says in the log of the system: where something failed, and never what somebody sent or
%% stored. And the audit log: who took data out, deleted it, or was refused.
-module(warp_server_log).

-export([crash/4, problem/2, audit/2, gateway/2]).

-include_lib("kernel/include/logger.hrl").

%% @doc Something crashed while it served a call. The reason is shown as far as it is an atom: a payload or a state can
%% be in the rest of it.
-spec crash(What :: atom(), error | exit | throw, Reason :: term(), Stack :: list()) -> ok.
crash(What, Class, Reason, Stack) ->
    ?LOG_ERROR("Warp's server failed while it served ~ts: ~tp ~tp in ~tp",
               [What, Class, tag(Reason), [frame(Frame) || Frame <- lists:sublist(Stack, 8)]],
               #{domain => [warp, server]}).

tag(Reason) when is_atom(Reason) -> Reason;
tag(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> {tag(element(1, Reason)), '...'};
tag(_) -> '...'.

frame({Module, Function, Args, Where}) when is_list(Args) -> frame({Module, Function, length(Args), Where});
frame({Module, Function, Arity, Where}) -> {Module, Function, Arity, proplists:get_value(line, Where, 0)}.

%% @doc A call failed for a reason that is the server's own fault, and of which the client is told nothing more.
-spec problem(What :: atom(), Reason :: term()) -> ok.
problem(What, Reason) ->
    ?LOG_ERROR("Warp's server could not serve ~ts: ~ts", [What, shown(Reason)], #{domain => [warp, server]}).

%% Messages of the engine are about files. A crash of a user's function is shown by its place.
shown({Kind, Message}) when is_atom(Kind), is_binary(Message) -> io_lib:format("~ts: ~ts", [Kind, Message]);
shown({Kind, {Class, Reason, Stack}}) when is_atom(Kind), is_list(Stack) ->
    io_lib:format("~ts: ~tp ~tp in ~tp",
                  [Kind, Class, tag(Reason), [frame(Frame) || Frame <- lists:sublist(Stack, 8)]]);
shown(Reason) -> io_lib:format("~tp", [tag(Reason)]).

%% @doc An entry of the audit log: what was done, and the token, peer, context, entity and operation.
-spec audit(What :: done | refused, map()) -> ok.
audit(What, About) ->
    ?LOG_NOTICE(About#{what => What}, #{domain => [warp, audit], report_cb => fun entry/1}).

entry(About) ->
    Order = [what, operation, token, peer, context, entity, why, count],
    {"Warp's server, audit:~ts",
     [[io_lib:format(" ~ts=~0tp", [Key, maps:get(Key, About)]) || Key <- Order, is_map_key(Key, About)]]}.

%% @doc Something happened to the gateway.
-spec gateway(logger:level(), iodata()) -> ok.
gateway(Level, Text) ->
    ?LOG(Level, "Warp's server: ~ts", [Text], #{domain => [warp, server]}).
