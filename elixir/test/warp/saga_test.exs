defmodule Warp.SagaTest do
  use ExUnit.Case, async: true
  alias Account.{Deposited, Withdrawn}

  # Functions of steps.
  def take_all(%Account{balance: 0}, _args), do: {:error, :nothing_there}
  def take_all(%Account{balance: balance}, %{"note" => nil}), do: {:ok, %Withdrawn{amount: balance}}
  def give_back(_account, %{}, %Withdrawn{amount: amount}), do: {:ok, %Deposited{amount: amount}}
  def wrong(_account, _args), do: {:ok, ~D[2026-01-01]}

  setup do
    steps = %{
      "take_all" => &__MODULE__.take_all/2,
      "give_back" => &__MODULE__.give_back/3,
      "wrong" => &__MODULE__.wrong/2
    }

    {:ok, bank} = Warp.Test.start(aggregates: [Account], steps: steps)
    on_exit(fn -> Warp.Test.stop(bank) end)
    Warp.append!(Warp.entity(bank, "alice"), %Deposited{amount: 50})
    [bank: bank]
  end

  defp balance(bank, name), do: Warp.get!(Warp.entity(bank, name), Account).balance

  defp step(saga, entity, forward, compensate),
    do: Warp.Saga.step(saga, entity: entity, aggregate: Account, forward: forward, compensate: compensate)

  test "step functions get nil and structs, and give structs", %{bank: bank} do
    take = %{run: "take_all", args: %{note: nil}}

    moved =
      Warp.Saga.new("s-1")
      |> step("alice", take, %{run: "give_back"})
      |> step("bob", %Withdrawn{amount: 1}, %Deposited{amount: 1})

    assert {:ok, {:compensated, %{failed: %{entity: "bob"}, steps: [%{status: :reversed}, _]}}} =
             Warp.Saga.commit(moved, bank, wait: 5000)

    assert balance(bank, "alice") == 50
    {:ok, events} = Warp.history(Warp.entity(bank, "alice"))
    assert Enum.map(events, & &1.payload) == [%Deposited{amount: 50}, %Withdrawn{amount: 50}, %Deposited{amount: 50}]
    assert {:ok, %{state: :compensated}} = Warp.Saga.status(bank, "s-1")
  end

  test "steps that run side by side", %{bank: bank} do
    steps = for name <- ["bob", "carol"], do: %{entity: name, aggregate: "Account"}
    steps = for step <- steps, do: Map.merge(step, %{forward: %Deposited{amount: 1}, compensate: %Withdrawn{amount: 1}})

    saga =
      Warp.Saga.new("s-2") |> Warp.Saga.parallel(steps) |> step("dan", %Deposited{amount: 2}, %Withdrawn{amount: 2})

    assert {:ok, {:committed, %{steps: [%{step: 0}, %{step: 1}, %{step: 2, entity: "dan"}]}}} =
             Warp.Saga.commit(saga, bank)

    assert for(name <- ["bob", "carol", "dan"], do: balance(bank, name)) == [1, 1, 2]
  end

  test "what is wrong with a step is an error of commit that names it", %{bank: bank} do
    good = Warp.Saga.new("s-3") |> step("bob", %Deposited{amount: 1}, %Withdrawn{amount: 1})

    assert {:error, {:bad_step, 1, {:forward, {:payload, {:not_json, why}}}} = reason} =
             good |> step("bob", %Deposited{amount: 1.5}, %Withdrawn{amount: 1}) |> Warp.Saga.commit(bank)

    assert why == "Account.Deposited.amount is not of the type :integer: 1.5"
    assert Warp.format_error(reason) =~ "Step 1 (counted from 0) cannot be taken: its forward is wrong at payload"

    assert {:error, {:bad_step, 1, {:compensate, {:payload, {:not_json, "Date is no event" <> _}}}}} =
             good |> step("bob", %Deposited{amount: 1}, ~D[2026-01-01]) |> Warp.Saga.commit(bank)

    assert {:error, {:bad_step, 1, _}} = good |> Warp.Saga.step([:no_step]) |> Warp.Saga.commit(bank)
    assert {:error, {:bad_step, 1, _}} = good |> Warp.Saga.step(entity: "x") |> Warp.Saga.commit(bank)
    assert {:error, _} = good |> Warp.Saga.parallel(:no_list) |> Warp.Saga.commit(bank)
    assert {:error, _} = good |> Warp.Saga.parallel([%{} | :no_list]) |> Warp.Saga.commit(bank)
    assert {:error, {:bad_saga_id, :empty}} = Warp.Saga.commit(%{good | id: ""}, bank)
    assert {:error, {:unknown_option, :until}} = Warp.Saga.commit(good, bank, until: 5)

    assert {:error, {:bad_step, 0, {:aggregate, {:unknown_aggregate, "Order"}}}} =
             Warp.Saga.new("s-4")
             |> Warp.Saga.step(entity: "x", aggregate: Order, forward: %{run: "wrong"}, compensate: %{run: "wrong"})
             |> Warp.Saga.commit(bank)

    assert balance(bank, "bob") == 0
  end

  test "a step function that gives no event is refused", %{bank: bank} do
    saga = Warp.Saga.new("s-5") |> step("alice", %{run: "wrong"}, %{run: "wrong"})

    assert {:ok, {:compensated, %{failed: %{reason: {:bad_event, 1, :payload, {:not_json, why}}}}}} =
             Warp.Saga.commit(saga, bank)

    assert why =~ "Date is no event"
  end

  test "a stuck saga waits for somebody", %{bank: bank} do
    saga =
      Warp.Saga.new("s-6")
      |> step("bob", %Deposited{amount: 1}, %Withdrawn{amount: 100})
      |> step("bob", %Withdrawn{amount: 100}, %Deposited{amount: 1})

    assert {:ok, {:stuck, %{blocked: %{reason: {:rejected, {:missing, 99}}}}}} = Warp.Saga.commit(saga, bank)
    assert {:ok, [%{id: "s-6"}]} = Warp.Saga.stuck(bank)
    assert {:ok, {:stuck, _}} = Warp.Saga.retry(bank, "s-6", wait: 5000)
    assert {:ok, {:stuck, %{note: "bob keeps it"}}} = Warp.Saga.resolve(bank, "s-6", "bob keeps it")
    assert {:error, {:not_stuck, :resolved}} = Warp.Saga.retry(bank, "s-6")
    assert {:ok, []} = Warp.Saga.pending(bank)
    assert {:error, :not_found} = Warp.Saga.cancel(bank, "s-7")
    assert {:ok, %{committed: 0}} = Warp.Saga.recover_pending(bank)
  end
end
