%% @private Supervises one context: its keeper, and behind it the processes of its components.
-module(warp_context_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

%% @doc Starts the processes of a context.
-spec start_link(warp_context:ref(), warp_context_keeper:start()) -> supervisor:startlink_ret().
start_link(Ref, Start) ->
    supervisor:start_link(?MODULE, {Ref, Start}).

-spec init({warp_context:ref(), warp_context_keeper:start()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Ref, {Settings, _, _} = Start}) ->
    Keeper = #{id => keeper, start => {warp_context_keeper, start_link, [Ref, Start]}},
    %% The processes behind the keeper cannot go on without its tables.
    {ok, {#{strategy => rest_for_one, intensity => 1000, period => 1},
          [Keeper | warp_component:children(Ref, Settings)]}}.
