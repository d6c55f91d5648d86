%% @private The names that this node has in its file: how far each is, and what waits. What is acknowledged is kept in
%% memory until {@link save/1}; everything else is on disk when a function here returns. The process that opened the
%% book is the one that uses it.
-module(warp_subscription_book).

-export([new/1, status/1, open/1, create/1, close/1]).
-export([names/1, add/4, remove/2, set_prefix/3, cursor/2]).
-export([acked/3, told/3, has_told/3, save/1]).
-export([notices/4, erase/2, hold/3, release/3]).
-export([give/2, take/3, give_away/3, gone/1, none_gone/1]).

-export_type([book/0, name/0]).

-type name() :: #{
    %% What the ids of all entities begin with that its consumers may have had events of.
    prefix := binary(),
    %% Up to where everything was acknowledged.
    marks := warp_subscription_names:marks(),
    held := #{Entity :: binary() => warp_subscription_store:held()}
}.

-record(book, {
    context :: warp_context:context(),
    %% `none': there is no file.
    store = none :: none | {open, warp_subscription_store:store()} | {error, Reason :: term()},
    names = #{} :: #{binary() => name()},
    %% What is not written yet.
    unsaved = #{} :: #{Name :: binary() => []},
    told = [] :: [{Name :: binary(), Entity :: binary(), Life :: non_neg_integer()}],
    %% Shards that were given away with names while a deletion was under way here.
    gone = [] :: [non_neg_integer()]
}).

-opaque book() :: #book{}.

%% @doc The book of a context, which is not open.
-spec new(warp_context:context()) -> book().
new(Context) -> #book{context = Context}.

%% @doc Whether it is open; `none' while there is no file. The error is one of the functions for names.
-spec status(book()) -> none | open | {error, term()}.
status(#book{store = {open, _}}) -> open;
status(#book{store = Other}) -> Other.

%% @doc Opens the file, if there is one.
-spec open(book()) -> book().
open(#book{context = Context} = Book) ->
    case warp_subscription_store:exists(Context) of
        false -> Book#book{store = none};
        true -> create(Book);
        {error, Reason} -> failed(Reason, Book)
    end.

%% @doc Likewise, and creates it.
-spec create(book()) -> book().
create(#book{context = Context} = Book) ->
    case warp_subscription_store:open(Context) of
        {ok, Store} ->
            case read(Store, Context) of
                {ok, Names, Gone} ->
                    Book#book{store = {open, Store}, names = Names, gone = Gone};
                {error, Reason} ->
                    ok = warp_subscription_store:close(Store),
                    failed(Reason, Book)
            end;
        {error, Reason} ->
            failed(Reason, Book)
    end.

failed(Reason, Book) -> Book#book{store = {error, shown_error(Reason)}}.

%% What opening a file can say beside the errors of the functions for names, as one of these.
shown_error(disk_full) -> disk_full;
shown_error({Kind, Message}) when Kind =:= io_error, is_binary(Message); Kind =:= corrupt, is_binary(Message) ->
    {Kind, Message};
shown_error(Reason) ->
    {io_error, warp_text:format("the names of subscriptions cannot be opened: ~ts", [warp_error:format_error(Reason)])}.

read(Store, Context) ->
    Read = [warp_subscription_store:names(Store), warp_subscription_store:held(Store),
            warp_subscription_store:gone(Store)],
    case [Reason || {error, Reason} <- Read] of
        [] ->
            [Names, Held, Gone] = [Of || {ok, Of} <- Read],
            loaded(Names, Held, Gone, Context);
        [Reason | _] ->
            {error, Reason}
    end.

loaded(Names, Held, Gone, #{shards := Shards}) ->
    Waiting = lists:foldl(
        fun({Name, #{entity := Entity} = Of}, Acc) -> Acc#{Name => (maps:get(Name, Acc, #{}))#{Entity => Of}} end,
        #{}, Held),
    Read = [{Name, warp_subscription_cursor:decode({shards, Shards}, Cursor), Prefix}
            || {Name, Cursor, Prefix} <- Names],
    case [Name || {Name, {error, _}, _} <- Read] of
        [] ->
            %% A cursor names no shard of which nothing was acknowledged.
            None = maps:from_list([{N, 0} || N <- lists:seq(0, Shards - 1)]),
            {ok, maps:from_list([{Name, #{prefix => Prefix, marks => maps:merge(None, Marks),
                                          held => maps:get(Name, Waiting, #{})}}
                                 || {Name, {ok, Marks}, Prefix} <- Read]),
             Gone};
        [Name | _] ->
            {error, {corrupt, warp_text:format("the cursor of the subscription ~ts is none", [Name])}}
    end.

%% @doc Closes the file.
-spec close(book()) -> ok.
close(#book{store = {open, Store}}) -> warp_subscription_store:close(Store);
close(#book{}) -> ok.

%% ------------------------------------------------------------------ Names

%% @doc All names, in no order.
-spec names(book()) -> #{binary() => name()}.
names(#book{names = Names}) -> Names.

%% @doc Adds a name that begins there.
-spec add(Name :: binary(), warp_subscription_names:marks(), Prefix :: binary(), book()) ->
    {ok, book()} | {error, term()}.
add(Name, Marks, Prefix, #book{names = Names} = Book) ->
    New = #{prefix => Prefix, marks => Marks, held => #{}},
    written(fun(Store) -> warp_subscription_store:create(Store, Name, encoded(New, Book), Prefix) end,
            Book#book{names = Names#{Name => New}}, Book).

%% @doc Removes names and everything that belongs to them.
-spec remove([Name :: binary()], book()) -> {ok, book()} | {error, term()}.
remove(Removed, Book) ->
    written(fun(Store) -> warp_subscription_store:remove(Store, Removed) end, without(Removed, Book), Book).

without(Removed, #book{names = Names, unsaved = Unsaved} = Book) ->
    Book#book{names = maps:without(Removed, Names), unsaved = maps:without(Removed, Unsaved)}.

%% @doc Changes what the ids of entities begin with.
-spec set_prefix(Name :: binary(), Prefix :: binary(), book()) -> {ok, book()} | {error, term()}.
set_prefix(Name, Prefix, #book{names = Names} = Book) ->
    case Names of
        #{Name := #{prefix := Prefix}} ->
            {ok, Book};
        #{Name := Of} ->
            written(fun(Store) -> warp_subscription_store:prefix(Store, Name, Prefix) end,
                    Book#book{names = Names#{Name := Of#{prefix := Prefix}}}, Book)
    end.

%% @doc The cursor of a name.
-spec cursor(Name :: binary(), book()) -> warp_subscription_cursor:cursor().
cursor(Name, #book{names = Names} = Book) -> encoded(maps:get(Name, Names), Book).

encoded(#{marks := Marks}, #book{context = #{shards := Shards}}) ->
    warp_subscription_cursor:encode({shards, Shards}, Marks).

%% The changed book once what was to be written is on disk.
written(Write, Changed, #book{store = {open, Store}}) ->
    case Write(Store) of
        ok -> {ok, Changed};
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ What is acknowledged

%% @doc Everything up to there was acknowledged.
-spec acked(Name :: binary(), warp_subscription_names:marks(), book()) -> book().
acked(Name, Marks, #book{names = Names, unsaved = Unsaved} = Book) ->
    #{Name := #{marks := Before} = Of} = Names,
    case maps:merge(Before, Marks) of
        Before -> Book;
        Now -> Book#book{names = Names#{Name := Of#{marks := Now}}, unsaved = Unsaved#{Name => []}}
    end.

%% @doc These erasures were taken.
-spec told(Name :: binary(), warp_subscription_names:told(), book()) -> book().
told(Name, Taken, #book{told = Told} = Book) ->
    Book#book{told = [{Name, Entity, Life} || {Entity, Life} <- maps:to_list(Taken)] ++ Told}.

%% @doc Whether an erasure of the entity was taken, and that is not written yet.
-spec has_told(Name :: binary(), Entity :: binary(), book()) -> boolean().
has_told(Name, Entity, #book{told = Told}) ->
    lists:any(fun({Of, Taken, _}) -> Of =:= Name andalso Taken =:= Entity end, Told).

%% @doc Writes what was acknowledged.
-spec save(book()) -> {ok, book()} | {error, term()}.
save(#book{unsaved = Unsaved, told = []} = Book) when map_size(Unsaved) =:= 0 ->
    {ok, Book};
save(#book{unsaved = Unsaved, told = Told} = Book) ->
    Cursors = [{Name, cursor(Name, Book)} || Name <- maps:keys(Unsaved)],
    written(fun(Store) -> warp_subscription_store:save(Store, Cursors, Told) end,
            Book#book{unsaved = #{}, told = []}, Book).

%% ------------------------------------------------------------------ Erasures, and what waits

%% @doc See {@link warp_subscription_store:notices/4}.
-spec notices(Name :: binary(), After :: binary(), Limit :: pos_integer(), book()) ->
    {ok, [{Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer()}]} | {error, term()}.
notices(Name, After, Limit, #book{store = {open, Store}}) ->
    warp_subscription_store:notices(Store, Name, After, Limit).

%% @doc Erases what there is of lives of entities, and notes which names have to be told.
-spec erase([{Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer(), Names :: [binary()]}], book()) ->
    {ok, book()} | {error, term()}.
erase(_Erased, #book{store = none} = Book) ->
    {ok, Book};
erase(Erased, #book{names = Names} = Book) ->
    Lives = maps:from_list([{Entity, Life} || {Entity, _, Life, _} <- Erased]),
    IsLeft = fun(Entity, #{life := Life}) -> Life > maps:get(Entity, Lives, -1) end,
    Left = maps:map(fun(_, #{held := Held} = Of) -> Of#{held := maps:filter(IsLeft, Held)} end, Names),
    written(fun(Store) -> warp_subscription_store:erase(Store, Erased) end, Book#book{names = Left}, Book).

%% @doc Notes that an entity waits, or how. `erased': it was erased, and the name is not told of that yet.
-spec hold(Name :: binary(), warp_subscription_store:held(), book()) -> {ok, book()} | {error, erased | term()}.
hold(Name, #{entity := Entity} = Held, #book{names = Names} = Book) ->
    #{Name := #{held := All} = Of} = Names,
    written(fun(Store) -> warp_subscription_store:hold(Store, Name, Held) end,
            Book#book{names = Names#{Name := Of#{held := All#{Entity => Held}}}}, Book).

%% @doc An entity does not wait any more.
-spec release(Name :: binary(), Entity :: binary(), book()) -> {ok, book()} | {error, term()}.
release(Name, Entity, #book{names = Names} = Book) ->
    #{Name := #{held := All} = Of} = Names,
    written(fun(Store) -> warp_subscription_store:release(Store, Name, Entity) end,
            Book#book{names = Names#{Name := Of#{held := maps:remove(Entity, All)}}}, Book).

%% ------------------------------------------------------------------ When a shard moves

%% @doc All that there is of these names, which were saved.
-spec give([Name :: binary()], book()) -> {ok, warp_subscription_store:rows()} | {error, term()}.
give(Names, #book{store = {open, Store}}) -> warp_subscription_store:rows(Store, Names).

%% @doc Writes what another node gave of names, in place of all that there is of these others, and reads that again.
%% What there is of `Kept' stays as it is in memory.
-spec take(Replaced :: [binary()], warp_subscription_store:rows(), {Kept :: [binary()], book()}) ->
    {ok, book()} | {error, term()}.
take(_Replaced, [], {_Kept, #book{store = none} = Book}) ->
    {ok, Book};
take(Replaced, Rows, {Kept, #book{store = {open, Store}, context = Context, names = Before} = Book}) ->
    case warp_subscription_store:put_rows(Store, Replaced, Rows) of
        ok ->
            case read(Store, Context) of
                {ok, Names, _} -> {ok, Book#book{names = maps:merge(Names, maps:with(Kept, Before))}};
                %% It is opened again, and all join again.
                {error, _} -> exit({shutdown, names_not_read})
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Shard N was given away with these names. Notes that if a deletion is under way here: it has to reach the names
%% where they are then.
-spec give_away(non_neg_integer(), [Name :: binary()], {IsUnderWay :: boolean(), book()}) ->
    {ok, book()} | {error, term()}.
give_away(_N, Names, {false, Book}) ->
    remove(Names, Book);
give_away(N, Names, {true, #book{gone = Gone} = Book}) ->
    written(fun(Store) -> warp_subscription_store:set_gone(Store, N, Names) end,
            without(Names, Book#book{gone = lists:usort([N | Gone])}), Book).

%% @doc The shards that were given away with names while a deletion was under way here.
-spec gone(book()) -> [non_neg_integer()].
gone(#book{gone = Gone}) -> Gone.

%% @doc No deletion is under way any more.
-spec none_gone(book()) -> book().
none_gone(#book{store = {open, Store}, gone = [_ | _]} = Book) ->
    %% What cannot be written costs a call more at the next deletion.
    _ = warp_subscription_store:clear_gone(Store),
    Book#book{gone = []};
none_gone(Book) ->
    Book.
