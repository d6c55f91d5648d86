%% @private What somebody who consumes a name by HTTP was given, and what of it he has acknowledged. Pure.
%%
%% Everything that he is given has a number, in the order in which he is given it. What he acknowledges is everything up
%% to a number: he cannot leave anything out, and needs to remember one text only.
-module(warp_server_hold).

-export([new/0, give/2, again/1, ack/2, is_done/1, id/2, read_id/1]).

-export_type([hold/0, given/0, id/0]).

-type given() :: {event, warp_subscription:acked()} | {erased, EntityId :: binary()}.
%% Nobody can guess one.
-type id() :: binary().
-record(hold, {
    %% The last number that was given.
    last = 0 :: non_neg_integer(),
    %% What is not acknowledged, the first one first.
    open = queue:new() :: queue:queue({N :: pos_integer(), given()})
}).
-opaque hold() :: #hold{}.

%% How many characters the id of a hold has: those of 16 bytes.
-define(ID_CHARS, 22).
-define(MAX_DIGITS, 15).

-spec new() -> hold().
new() -> #hold{}.

%% @doc The number of what is given now.
-spec give(given(), hold()) -> {pos_integer(), hold()}.
give(Given, #hold{last = Last, open = Open}) ->
    {Last + 1, #hold{last = Last + 1, open = queue:in({Last + 1, Given}, Open)}}.

%% @doc The subscription has its shards anew, and what was not acknowledged comes again, with other numbers.
-spec again(hold()) -> hold().
again(Hold) -> Hold#hold{open = queue:new()}.

%% @doc What is acknowledged with a number and was not before, the first one first. `not_given': nothing had that number
%% yet.
-spec ack(pos_integer(), hold()) -> {ok, [given()], hold()} | {error, not_given}.
ack(N, #hold{last = Last}) when N > Last -> {error, not_given};
ack(N, #hold{open = Open} = Hold) ->
    {Acked, Left} = upto(N, Open, []),
    {ok, Acked, Hold#hold{open = Left}}.

upto(N, Open, Acked) ->
    case queue:peek(Open) of
        {value, {First, Given}} when First =< N -> upto(N, queue:drop(Open), [Given | Acked]);
        _ -> {lists:reverse(Acked), Open}
    end.

%% @doc Whether everything that was given is acknowledged.
-spec is_done(hold()) -> boolean().
is_done(#hold{open = Open}) -> queue:is_empty(Open).

%% ----------------------------------------------------------------------------------- Numbers as text for a client

%% @doc What a client acknowledges a number with.
-spec id(id(), pos_integer()) -> binary().
id(Id, N) -> <<Id/binary, $., (integer_to_binary(N))/binary>>.

%% @doc The same the other way round.
-spec read_id(binary()) -> {ok, id(), pos_integer()} | error.
read_id(<<Id:?ID_CHARS/binary, $., Digits/binary>>) when byte_size(Digits) =< ?MAX_DIGITS ->
    try binary_to_integer(Digits) of
        N when N > 0 -> {ok, Id, N};
        _ -> error
    catch
        error:badarg -> error
    end;
read_id(_) ->
    error.
