%% A context in the form that the behaviour `warp_server' wants.
-module(warp_server_ffi).

-export([context/3, decision/1, refusal/1]).

-spec context(map(), [{binary(), {binary(), fun()}}], [{binary(), fun()}]) -> map().
context(Settings, Commands, Views) ->
    Settings#{commands => maps:from_list(Commands), views => maps:from_list(Views)}.

%% The server tells a client why a command refused. Other errors of this package are faults of the command.
-spec decision(warp_core:decision(term())) -> warp_core:decision(term()).
decision({error, {warp_error, {refused, Reason}}}) -> {error, Reason};
decision({error, {warp_error, Fault}}) -> error(Fault);
decision(Decision) -> Decision.

-spec refusal(binary()) -> {error, binary()}.
refusal(Why) -> {error, Why}.
