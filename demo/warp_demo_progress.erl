%% One line that says how far a load has come: written over itself on a terminal, else a new line
%% every few seconds.
-module(warp_demo_progress).

-export([new/1, show/3, finish/3, end_line/0, seconds/1]).
-export_type([progress/0]).

-define(BAR, 24).

-opaque progress() :: #{label := string(), began := integer(), shown := integer(),
                        every := pos_integer(), ended => integer()}.

-spec new(string()) -> progress().
new(Label) ->
    Now = now_ms(),
    Every = case warp_demo_text:is_terminal() of true -> 100; false -> 2000 end,
    #{label => Label, began => Now, shown => Now, every => Every}.

-spec show(progress(), non_neg_integer(), float()) -> progress().
show(#{shown := Shown, every := Every} = Progress, Events, Share) ->
    case now_ms() of
        Now when Now - Shown >= Every ->
            ok = put(Progress, Events, Share, Now),
            Progress#{shown := Now};
        _ ->
            Progress
    end.

-spec finish(progress(), non_neg_integer(), float()) -> progress().
finish(Progress, Events, Share) ->
    Now = now_ms(),
    ok = put(Progress, Events, Share, Now),
    ok = end_line(),
    Progress#{ended => Now}.

%% What is said next starts on a line of its own.
-spec end_line() -> ok.
end_line() ->
    case warp_demo_text:is_terminal() of
        true -> warp_demo_text:say("");
        false -> ok
    end.

-spec seconds(progress()) -> float().
seconds(#{began := Began, ended := Ended}) ->
    max(1, Ended - Began) / 1000.

put(#{label := Label, began := Began}, Events, Share, Now) ->
    Rate = Events * 1000 div max(1, Now - Began),
    Full = round(Share * ?BAR),
    Line = io_lib:format("  ~ts [~ts~ts] ~3b%  ~9ts events  ~9ts events/s",
                         [Label, lists:duplicate(Full, $#), lists:duplicate(?BAR - Full, $.),
                          round(Share * 100), warp_demo_text:count(Events),
                          warp_demo_text:count(Rate)]),
    case warp_demo_text:is_terminal() of
        true -> warp_demo_text:say_over(Line);
        false -> warp_demo_text:say(Line)
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
