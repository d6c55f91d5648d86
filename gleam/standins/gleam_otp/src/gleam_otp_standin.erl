%% The supervisor of the stand-in of gleam_otp. The tuples are those of its Gleam types.
-module(gleam_otp_standin).
-behaviour(supervisor).

-export([start_link/1, start_child/1]).
-export([init/1]).

-spec start_link(tuple()) -> {ok, pid()} | {error, tuple()}.
start_link({builder, Strategy, Intensity, Period, AutoShutdown, Children}) ->
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period,
              auto_shutdown => AutoShutdown},
    Ids = lists:seq(0, length(Children) - 1),
    case supervisor:start_link(?MODULE, {Flags, lists:zipwith(fun child/2, Ids, Children)}) of
        {ok, Pid} -> {ok, Pid};
        {error, {already_started, _}} -> {error, {init_failed, <<"already started">>}};
        {error, {shutdown, _}} -> {error, {init_failed, <<"shutdown">>}};
        {error, Reason} -> {error, {init_exited, {abnormal, Reason}}}
    end.

child(Id, {child_specification, Start, Restart, Significant, ChildType}) ->
    {Type, Shutdown} = case ChildType of
        supervisor -> {supervisor, infinity};
        {worker, Millis} when Millis < 0 -> {worker, infinity};
        {worker, Millis} -> {worker, Millis}
    end,
    #{id => Id, start => {?MODULE, start_child, [Start]}, restart => Restart,
      significant => Significant, type => Type, shutdown => Shutdown}.

-spec start_child(fun(() -> {ok, tuple()} | {error, term()})) -> {ok, pid()} | {error, term()}.
start_child(Start) ->
    case Start() of
        {ok, {started, Pid, _Data}} -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

-spec init(Spec) -> {ok, Spec}.
init(Spec) ->
    {ok, Spec}.
