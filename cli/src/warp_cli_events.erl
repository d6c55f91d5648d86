%% @private `warp events': the events of an entity.
-module(warp_cli_events).
-behaviour(warp_cli_command).

-export([commands/0, entity/0]).

-define(LIMIT, 100).
%% How much of a payload stands in a line.
-define(WIDTH, 120).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"events">>],
       about => <<"List events of an entity, the last ones first or from a seq on">>,
       text => <<"As they were stored, without `migrate'. With --json each event is one line with all that there is "
                 "of it.">>,
       opens => true,
       options => [entity(),
                   #{name => from, value => <<"SEQ">>, is => positive,
                     about => <<"from this event on; otherwise the last ones, the newest first">>},
                   #{name => limit, value => <<"N">>, is => positive, about => <<"how many at most (100)">>}],
       examples => [<<"warp events data/bank --entity alice">>,
                    <<"warp events data/bank --entity alice --from 2 --limit 10 --json">>],
       run => fun run/1}].

%% @doc The option that names an entity.
-spec entity() -> warp_cli_command:option().
entity() ->
    #{name => entity, value => <<"ID">>, required => true, about => <<"the id of the entity">>}.

run(#{entity := Entity, json := IsJson} = Args) ->
    Limit = maps:get(limit, Args, ?LIMIT),
    Where = case Args of #{from := From} -> #{from => From}; _ -> #{backward => true} end,
    warp_cli_context:with(Args, open, fun(Ask, _Hello) ->
        Show = fun(Json) when IsJson -> warp_cli_terminal:print([Json, $\n]);
                  (Json) -> warp_cli_terminal:print(line(Json))
        end,
        #{<<"events">> := Count} = Ask(Where#{op => events, entity => Entity, limit => Limit}, Show),
        _ = [warp_cli_terminal:note(["The entity ", Entity, " has no events",
                                     case Where of #{from := _} -> " from there on."; _ -> "." end]) || Count =:= 0],
        ok
    end).

line(Json) ->
    {ok, #{<<"seq">> := Seq, <<"recorded_at">> := At, <<"aggregate">> := Aggregate, <<"type">> := Type,
           <<"payload">> := Payload}} = warp_json:decode(Json),
    Text = warp_cli_units:text(Payload),
    Shown = case string:length(Text) > ?WIDTH of
        true -> [string:slice(Text, 0, ?WIDTH), "..."];
        false -> Text
    end,
    warp_cli_table:row([{8, right, integer_to_list(Seq)}, {20, left, warp_cli_units:time(At)},
                        {20, left, [Aggregate, $., Type]}, {0, left, Shown}]).
