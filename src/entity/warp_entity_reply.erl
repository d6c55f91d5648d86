%% @private Answers requests to an entity's process.
-module(warp_entity_reply).

-export([reply/2, taken/1]).

-export_type([from/0, taken/0]).

-include_lib("kernel/include/logger.hrl").

%% Who gets the answer to a request. Nobody gets the answer to a cast, which names the entity instead. An `early' caller
%% was told already when its append was handed to the writer.
-type from() :: gen_server:from() | {early, gen_server:from()} | {cast, EntityId :: binary()}.
%% The alias that is told that a cast was taken.
-type taken() :: reference().

%% @doc Tells the sender of a cast, which may be waiting, that the process has taken the cast.
-spec taken(taken()) -> ok.
taken(Taken) ->
    Taken ! {Taken, taken},
    ok.

%% @doc Answers a request, after sending the messages of its decision. A cast has nobody to answer to; when it was not
%% carried out, that is logged.
-spec reply(from(), term()) -> ok.
reply(From, {sending, Messages, Result}) ->
    ok = lists:foreach(fun({To, Message}) -> To ! Message end, Messages),
    reply(From, Result);
reply({cast, Id}, {error, Reason}) ->
    ?LOG_WARNING("Warp: a decision that was cast to entity ~ts was not carried out: ~ts. Its sender is not told.",
                 [Id, warp_redact:reason(Reason)]);
reply({cast, _Id}, _Stored) ->
    ok;
reply({early, _From}, {stored, _, _}) ->
    ok;
%% What was handed to the writer and fails then has been answered: the alias of the caller takes one answer only.
reply({early, From}, Refused) ->
    gen_server:reply(From, Refused);
reply(From, Answer) ->
    gen_server:reply(From, Answer).
