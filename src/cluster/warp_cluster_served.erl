%% @private Which functions a node runs for other nodes. Pure: {@link warp_cluster_server} runs them.
%%
%% A node that is connected could run any function by other means of Erlang's distribution. The list keeps a node of
%% another version, or one with a fault, from running by Warp's own means what was not meant to be.
-module(warp_cluster_served).

-export([is_call/1, is_request/1, all/0]).

%% @doc Whether a call is of a function that a process of its own runs.
-spec is_call({module(), atom(), [term()]}) -> boolean().
is_call(Call) -> is_of(Call, calls()).

%% @doc Whether a call is of a function that makes a request, to which the response comes later.
-spec is_request({module(), atom(), [term()]}) -> boolean().
is_request(Call) -> is_of(Call, requests()).

is_of({Module, Function, Args}, Functions) ->
    case Functions of
        #{Module := Known} -> lists:member({Function, length(Args)}, Known);
        #{} -> false
    end.

%% @doc All of them.
-spec all() -> [mfa()].
all() ->
    [{Module, Function, Arity} || Functions <- [calls(), requests()], {Module, Known} <- maps:to_list(Functions),
                                  {Function, Arity} <- Known].

calls() ->
    #{warp_core => [{append, 3}, {append_batch, 3}, {decide, 4}, {cast, 3}, {pid, 1}, {get, 3}, {state_at, 4},
                    {history, 2}, {export, 2}, {import, 3}, {delete, 2}, {correct_time, 3}, {await_projection, 2}],
      warp_backup_hold => [{begin_here, 3}],
      warp_backup_saver => [{begin_here, 3}, {make_keys_here, 3}],
      warp_backup_server => [{erased_here, 2}],
      warp_cluster_log => [{serve, 5}],
      warp_cluster_copy => [{entities, 2}, {outline, 2}, {pages, 3}],
      warp_cluster_mover => [{progress_here, 1}, {rounds_here, 2}],
      warp_cluster_forget => [{look_here, 1}, {promise_here, 3}, {take_over_here, 4}],
      warp_erasure_part => [{note, 2}, {erase, 2}, {keep, 2}],
      warp_saga_erase => [{clear_there, 4}],
      warp_saga_call => [{serve, 4}],
      warp_saga_gather => [{serve, 4}],
      warp_saga_step => [{serve, 5}],
      warp_subscription_names => [{asked, 4}, {asked_left_for, 4}],
      warp_projection => [{retry, 2}, {skip, 2}],
      warp_projection_stats => [{ends, 3}],
      warp_projection_swap => [{are_close, 2}, {halt, 4}, {reached, 3}]}.

requests() ->
    #{warp_core => [{append_request, 3}, {append_batch_request, 3}]}.
