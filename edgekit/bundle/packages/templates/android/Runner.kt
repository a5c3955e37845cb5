package @@PACKAGE@@

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer

/** Where a model may run. */
enum class Delegate { GPU, CPU }

/** A delegate that was tried and is not used, and why. */
data class Refused(val delegate: Delegate, val reason: String)

/** What was asked for, what runs, and every delegate that was passed over with its reason. */
data class Placement(val asked: List<Delegate>, val used: Delegate, val refused: List<Refused>) {
    /** Whether something else runs than what was asked for first. */
    val fellBack: Boolean get() = refused.isNotEmpty()
}

/** Outcome of the golden vectors: how many were run, and the first differences in words. */
data class SelfTest(val samples: Int, val differences: List<String>) {
    val passed: Boolean get() = samples > 0 && differences.isEmpty()
}

/** No delegate of the policy took the model; [refused] says why, one by one. */
class NoDelegate(val refused: List<Refused>) :
    Exception(refused.joinToString("; ") { "${it.delegate}: ${it.reason}" })

/** Values of the inputs, flat and row-major, in the reference model's layout. */
class @@TYPE@@Inputs(@@INPUT_FIELDS@@)

/** Values of the outputs, likewise. */
class @@TYPE@@Outputs(@@OUTPUT_FIELDS@@)

/**
 * The model on LiteRT. Not thread-safe: one runner for each thread.
 *
 * Written by edgekit; what it knows about the model is in [@@TYPE@@Spec].
 */
class @@TYPE@@Runner private constructor(
    private val model: CompiledModel,
    /** What runs, and why it is not what was asked for. */
    val placement: Placement
) : AutoCloseable {

    private val inputs: Map<String, TensorBuffer> =
        @@TYPE@@Spec.INPUTS.associate { it.inside to model.createInputBuffer(it.inside) }
    private val outputs: Map<String, TensorBuffer> =
        @@TYPE@@Spec.OUTPUTS.associate { it.inside to model.createOutputBuffer(it.inside) }

    /** One inference. */
    fun run(values: @@TYPE@@Inputs): @@TYPE@@Outputs {
        val found = infer(listOf<Any>(@@INPUT_VALUES@@))
        return @@TYPE@@Outputs(@@OUTPUT_VALUES@@)
    }

    /** The golden vectors, from the raw sample on, against what the model gave where it was released. */
    fun selfTest(context: Context): SelfTest {
        val samples = @@TYPE@@Spec.golden(context)
        val differences = samples.mapIndexed { at, sample ->
            val words = sample.difference(infer(sample.inputs))
            if (words.isEmpty()) "" else "sample $at: $words"
        }
        return SelfTest(samples.size, differences.filter { it.isNotEmpty() })
    }

    private fun infer(values: List<Any>): List<Any> {
        @@TYPE@@Spec.INPUTS.forEachIndexed { at, tensor ->
            write(inputs.getValue(tensor.inside), tensor, tensor.toModel(values[at]))
        }
        model.run(inputs, outputs)
        return @@TYPE@@Spec.OUTPUTS.map { it.fromModel(read(outputs.getValue(it.inside), it)) }
    }

    private fun write(buffer: TensorBuffer, tensor: Tensor, values: Any) = when (tensor.insideDtype) {
        "float32" -> buffer.writeFloat(values as FloatArray)
        "int32" -> buffer.writeInt(values as IntArray)
        "int64" -> buffer.writeLong(values as LongArray)
        "bool" -> buffer.writeBoolean(values as BooleanArray)
        else -> buffer.writeInt8(values as ByteArray) // the bytes of int8 or uint8
    }

    private fun read(buffer: TensorBuffer, tensor: Tensor): Any = when (tensor.insideDtype) {
        "float32" -> buffer.readFloat()
        "int32" -> buffer.readInt()
        "int64" -> buffer.readLong()
        "bool" -> buffer.readBoolean()
        else -> buffer.readInt8()
    }

    override fun close() {
        inputs.values.forEach { it.close() }
        outputs.values.forEach { it.close() }
        model.close()
    }

    companion object {
        /**
         * The model on the first delegate of [policy] that takes all of it and gives the golden outputs.
         *
         * A delegate is asked for alone: one that would leave operators to the CPU refuses, and is reported in
         * [Placement.refused] instead of running slower than promised. Call it off the main thread.
         *
         * @throws java.io.IOException an asset is missing or damaged: nothing is run from it.
         * @throws NoDelegate no delegate of the policy took the model.
         */
        fun open(
            context: Context,
            policy: List<Delegate> = listOf(Delegate.GPU, Delegate.CPU)
        ): @@TYPE@@Runner {
            @@TYPE@@Spec.verifyAssets(context)
            val refused = mutableListOf<Refused>()
            for (delegate in policy) {
                val placement = Placement(policy, delegate, refused.toList())
                var runner: @@TYPE@@Runner? = null
                try {
                    runner = create(context, placement)
                    val test = runner.selfTest(context)
                    if (test.passed) return runner
                    refused += Refused(delegate, "golden vectors differ: ${test.differences.firstOrNull()}")
                } catch (error: Exception) {
                    refused += Refused(delegate, reason(error))
                } catch (error: LinkageError) { // the library of the accelerator is not in the app
                    refused += Refused(delegate, reason(error))
                }
                runner?.close()
            }
            throw NoDelegate(refused)
        }

        private fun create(context: Context, placement: Placement): @@TYPE@@Runner {
            val accelerator = if (placement.used == Delegate.GPU) Accelerator.GPU else Accelerator.CPU
            val options = CompiledModel.Options(accelerator)
            val model = CompiledModel.create(context.assets, @@TYPE@@Spec.MODEL_ASSET, options)
            try {
                return @@TYPE@@Runner(model, placement)
            } catch (error: Exception) {
                model.close()
                throw error
            }
        }

        private fun reason(error: Throwable): String = "${error.javaClass.simpleName}: ${error.message}"
    }
}
